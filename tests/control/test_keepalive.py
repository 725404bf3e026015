"""Leases are renewed, and an agent that hangs is replaced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import keepalive as module
from orchestrator.control.keepalive import renew_lease, replace_silent_agent
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.runs.record import Record
from tests.control.followed import Followed
from tests.runs.fakes import FakeAgent, FakeConnection, until
from tests.runs.helpers import record_in


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = record_in(tmp_path)
    yield record
    record.close()


async def test_lease_is_renewed_if_another_node_hangs(record: Record) -> None:
    class Mute(FakeAgent):
        async def ask(self, verb: str, **arguments: Any) -> Any:
            await asyncio.Event().wait()

    mute, agent = FakeConnection(Mute()), FakeAgent(answers={"heard": {"renewed": True}})
    nodes = [Followed(record, connection).follower for connection in (mute, FakeConnection(agent))]
    tasks = [asyncio.create_task(renew_lease(node, 0.02)) for node in nodes]
    await until(lambda: len(agent.asked) >= 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASK_INTERVAL", 0.01)
    monkeypatch.setattr(module, "_MIN_SILENCE", 0.05)


class BusyAgent(FakeAgent):
    """An agent that sends reports all the time and never answers."""

    looks = 0

    @property
    def heard_at(self) -> float:
        self.looks += 1
        return time.monotonic()

    @heard_at.setter
    def heard_at(self, at: float) -> None:
        pass


@asynccontextmanager
async def watching(record: Record, agent: FakeAgent, patience: float) -> AsyncIterator[Followed]:
    """Replace a silent agent in the background, without following."""
    followed = Followed(record, FakeConnection(agent))
    task = asyncio.create_task(replace_silent_agent(followed.follower, patience))
    try:
        yield followed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("impatient")
async def test_agent_without_answers_is_abandoned(record: Record) -> None:
    agent = FakeAgent()
    async with watching(record, agent, patience=0.1):
        await until(lambda: agent.abandoned != [])
    assert "has not answered for" in agent.abandoned[0]


@pytest.mark.usefixtures("impatient")
async def test_agent_that_hangs_during_a_stop_is_abandoned_without_patience(
    record: Record,
) -> None:
    agent = FakeAgent()
    async with watching(record, agent, patience=1000.0) as followed:
        await followed.follower.stop(Stop(StopReason.RANK_FAILED), 1.0)
        await until(lambda: agent.abandoned != [])


@pytest.mark.usefixtures("impatient")
async def test_agent_that_answers_or_reports_is_not_abandoned(record: Record) -> None:
    idle = FakeAgent(answers={"heard": {"renewed": False}})  # it sends nothing else
    async with watching(record, idle, patience=0.0):
        await until(lambda: len(idle.asked) > 20)
    assert idle.abandoned == []
    busy = BusyAgent()
    async with watching(record, busy, patience=0.0):
        await until(lambda: busy.looks > 20)
    assert (busy.asked, busy.abandoned) == ([], [])
