"""An elastic run continues without the nodes that have left it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from orchestrator import events
from orchestrator.control import elastic as module
from orchestrator.control.elastic import watch_members
from orchestrator.control.first_failure import NodeState
from orchestrator.control.follower import Follower
from orchestrator.control.membership import Membership
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Elastic
from orchestrator.reasons import Stop
from tests.runs.fakes import until
from tests.runs.helpers import RUNNING, plan_of, rank

PLAN = plan_of(1, 1, 1)


class Node:
    """The part of a follower that the watch uses; its rank began at 0, with two others."""

    def __init__(self, number: int, attempt: int = 0) -> None:
        self.name = f"n{number}"
        report = replace(rank(number), local_rank=0, attempt=attempt, world_size=3)
        self._state = NodeState(self.name, {number: report}, RUNNING)
        self.looks = 0
        """How often its state was read."""
        self.has_ended = False
        self.restarted: list[int] = []
        self.emitted: list[Stop] = []

    @property
    def state(self) -> NodeState:
        self.looks += 1
        return self._state

    def vanish(self) -> None:
        self._state = replace(self._state, gone="vanished")

    def restart(self) -> None:
        (report,) = self._state.ranks.values()
        self._state = replace(
            self._state, ranks={report.rank: replace(report, started=100.0, world_size=2)}
        )

    async def ask(self, verb: str, *, attempt: int, rank: int, pid: int) -> dict[str, bool]:
        assert verb == "restart_rank"
        self.restarted.append(pid)
        return {"ended": True}

    async def stop(self, reason: Stop, grace: float) -> None:
        self.emitted.append(reason)
        self._state = replace(self._state, stopped_at=1.0)


@dataclass
class Watched:
    members: Membership
    task: asyncio.Task[None]
    emitted: list[events.Event] = field(default_factory=list)
    news: int = 0


@asynccontextmanager
async def watching(
    nodes: list[Node], restarts: int = 1, left: dict[str, str] | None = None
) -> AsyncIterator[Watched]:
    members = Membership(PLAN, Elastic(1, 3, restarts), left or {})
    emitted: list[events.Event] = []
    watched: Watched

    def on_news() -> None:
        watched.news += 1

    followers = cast(list[Follower], nodes)
    task = asyncio.create_task(watch_members(members, followers, 3.0, emitted.append, on_news))
    watched = Watched(members, task, emitted)
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_INTERVAL", 0.005)
    monkeypatch.setattr(module, "_RESTART_INTERVAL", 0.1)


async def test_waiting_ranks_are_restarted_by_one_launcher_then_by_the_next() -> None:
    nodes = [Node(0), Node(1), Node(2)]
    async with watching(nodes) as watched:
        nodes[2].vanish()
        await until(lambda: bool(nodes[0].restarted))
        ended = "rank 0 on n0 was killed to restart all ranks"
        assert watched.emitted == [events.NodeLeft("n2", "vanished", 2, 3), events.Warned(ended)]
        assert nodes[2].emitted == [Stop(StopReason.NODE_LEFT)]
        assert nodes[1].restarted == []
        nodes[0].restart()  # only this one: the other did not notice
        began = time.monotonic()
        await until(lambda: bool(nodes[1].restarted))
        assert time.monotonic() - began < 5
        assert (nodes[0].restarted, nodes[1].restarted) == ([100], [101])


async def test_ranks_that_restarted_by_themselves_are_not_restarted() -> None:
    nodes = [Node(0), Node(1), Node(2)]
    async with watching(nodes):
        await until(lambda: nodes[0].looks > 0)
        nodes[0].restart()
        nodes[1].restart()
        nodes[2].vanish()
        await until(lambda: bool(nodes[2].emitted))
        looks = nodes[0].looks
        await until(lambda: nodes[0].looks > looks + 10)
        assert (nodes[0].restarted, nodes[1].restarted) == ([], [])


async def test_run_is_over_if_no_restarts_are_left() -> None:
    nodes = [Node(0, attempt=1), Node(1, attempt=1), Node(2)]
    async with watching(nodes) as watched:
        nodes[2].vanish()
        await until(lambda: watched.members.is_spent)
        assert watched.news > 0
        assert watched.members.why_over == "no restarts are left"
        assert nodes[0].restarted == nodes[1].restarted == []


async def test_watch_ends_when_the_nodes_are_stopped() -> None:
    nodes = [Node(0), Node(1), Node(2)]
    async with watching(nodes) as watched:
        for node in nodes:
            await node.stop(Stop(StopReason.INTERRUPT), 3.0)
        await asyncio.wait_for(watched.task, 5)


async def test_nodes_known_to_have_left_are_not_reported_again() -> None:
    nodes = [Node(0), Node(1), Node(2)]
    async with watching(nodes, left={"n2": "vanished"}) as watched:
        await until(lambda: bool(nodes[0].restarted))  # which may not have happened yet
        await until(lambda: bool(nodes[2].emitted))
        assert [event for event in watched.emitted if isinstance(event, events.NodeLeft)] == []
