"""A rank that holds up the others is reported once, with what it does, and taken back when that is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import events
from orchestrator.control import stragglers
from orchestrator.control.stragglers import StragglerWatch
from orchestrator.errors import NodeError
from orchestrator.logs.stream import Stream
from orchestrator.runs.event_log import LoggedEvent
from orchestrator.runs.state import replay
from tests.control.test_stall import C10D, Node
from tests.runs.fakes import FakeAgent, FakeConnection, until
from tests.runs.helpers import plan_of

RANKS = 4
SLOW = {"run": 9, "lock": 1}
FAST = {"run": 3, "lock": 7}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "_INTERVAL", 0.01)
    monkeypatch.setattr(stragglers, "_SNAPSHOT_PAUSE", 0.001)
    monkeypatch.setattr(stragglers, "_MIN_PAUSE", 0.01)


class Machine:
    """A node with one rank: it waits in each second snapshot if it is `slow`, otherwise always."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pid = 10 + rank
        self.slow = rank == 2
        self.has_stacks = True
        self.always_alone = False
        self.kinds: dict[str, int] = {}
        self.asked = self.taken = 0
        self.lies: Any = None

    def activity(self, arguments: dict[str, Any]) -> Any:
        if isinstance(self.lies, NodeError):
            raise self.lies
        if self.lies is not None:
            return self.lies
        self.asked += 1
        for kind, number in (SLOW if self.slow else FAST).items():
            self.kinds[kind] = self.kinds.get(kind, 0) + 2 * number
        ranks = [{"rank": self.rank, "pid": self.pid, "kinds": dict(self.kinds)}]
        return {"ranks": ranks, "paths": []}

    def stacks(self, arguments: dict[str, Any]) -> Any:
        self.taken += 1
        waits = [["all_reduce", C10D, 1], ["train", "/job/train.py", 88]]
        works = [["load", "/job/train.py", 42]]
        is_alone = self.slow and (self.always_alone or self.taken % 2)
        frames = works if is_alone else waits
        process = {
            "pid": self.pid, "rank": self.rank, "own": True, "name": "python", "state": "S",
            "used": 1.0, "main_used": 1.0, "moved": 0, "by": "signal", "why": "",
            "threads": [{"name": "MainThread", "main": True, "frames": frames}] if self.has_stacks else [],
        }  # fmt: skip
        return {"at": time.monotonic(), "processes": [process], "sockets": []}


class Watched:
    def __init__(self, *known: events.Straggling) -> None:
        self.machines = [Machine(rank) for rank in range(RANKS)]
        self.nodes: Any = [Node(machine.rank, None) for machine in self.machines]
        for node, machine in zip(self.nodes, self.machines, strict=True):
            node.connection = FakeConnection(
                FakeAgent(answers={"stacks": machine.stacks, "activity": machine.activity})
            )

            async def ask(verb: str, timeout: float = 0, _node: Any = node, **more: Any) -> Any:
                return await _node.connection.agent.ask(verb, timeout=timeout, **more)

            node.ask = ask
        self.emitted: list[events.Event] = []
        plan = plan_of(*(1 for _ in range(RANKS)))
        self.watch = StragglerWatch(self.nodes, plan, self.emitted.append, known)


@asynccontextmanager
async def watching(watched: Watched) -> AsyncIterator[Watched]:
    task = asyncio.create_task(watched.watch.watch())
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()


async def test_straggler_is_reported_once_and_taken_back() -> None:
    async with watching(Watched()) as watched:
        slow = watched.machines[2]
        await until(lambda: watched.emitted != [])
        asked = slow.asked
        await until(lambda: slow.asked > asked + 10)
        (emitted,) = watched.emitted
        assert isinstance(emitted, events.Straggling)
        assert (emitted.ranks, emitted.nodes) == ((2,), ("n2",))
        assert (emitted.kind, emitted.does) == ("run", "computes")
        assert emitted.place == "load (train.py:42)"
        assert emitted.share == pytest.approx(0.6)
        assert emitted.seconds is None
        log = [LoggedEvent(0.0, emitted)]
        assert list(replay(log).stragglers.values()) == [emitted]
        slow.slow = False
        await until(lambda: len(watched.emitted) == 2)
        assert watched.emitted[1] == events.CaughtUp((2,), ("n2",))
        assert replay([*log, LoggedEvent(1.0, watched.emitted[1])]).stragglers == {}


async def test_lost_time_of_a_step_comes_from_printed_steps(tmp_path: Path) -> None:
    async with watching(Watched()) as watched:
        for number in range(3):
            stream = Stream.parse("n0", "attempt-0/rank-0.out", 0)
            data = f"step {number * 20}\n".encode()
            watched.watch.note(
                events.Output(stream, 0, data, float(10 * number), tmp_path / "rank-0.out")
            )
            asked = watched.machines[0].asked
            await until(lambda asked=asked: watched.machines[0].asked > asked + 1)  # type: ignore[misc]
        await until(lambda: watched.emitted != [])
    (emitted,) = watched.emitted
    assert isinstance(emitted, events.Straggling)
    assert emitted.seconds in (None, pytest.approx(0.3))


async def test_even_ranks_are_not_reported_nor_asked_for_stacks() -> None:
    watched = Watched()
    watched.machines[2].slow = False
    async with watching(watched):
        await until(lambda: watched.machines[0].asked > 30)
    assert watched.emitted == []
    assert sum(machine.taken for machine in watched.machines) == 0


async def test_suspicion_that_stacks_refute_is_not_reported() -> None:
    watched = Watched()
    watched.machines[2].always_alone = True  # one long piece of work, such as a checkpoint
    async with watching(watched):
        await until(lambda: watched.machines[2].taken > 50)
    assert watched.emitted == []


async def test_straggler_without_stacks_is_reported_after_longer() -> None:
    watched = Watched()
    for machine in watched.machines:
        machine.has_stacks = False
    async with watching(watched):
        await until(lambda: watched.emitted != [])
    (emitted,) = watched.emitted
    assert isinstance(emitted, events.Straggling)
    assert (emitted.ranks, emitted.place) == ((2,), "")


async def test_straggler_known_to_an_earlier_controller_is_not_reported_again() -> None:
    known = events.Straggling((2,), ("n2",), "run", "computes", 0.6, None, "load (train.py:42)")
    async with watching(Watched(known)) as watched:
        await until(lambda: watched.machines[0].asked > 30)
        assert watched.emitted == []
        watched.machines[2].slow = False
        await until(lambda: watched.emitted == [events.CaughtUp((2,), ("n2",))])


@pytest.mark.parametrize(
    "lie",
    [
        {"ranks": [{"rank": 2, "pid": 1, "kinds": {"run": 5}}], "paths": []},  # another node's
        {"ranks": [{"rank": 0, "pid": 1, "kinds": {"run": -5}}], "paths": []},
        {"ranks": [{"rank": 0, "pid": 1, "kinds": {"\x1b[2J": 5}}], "paths": []},
        "nonsense",
        NodeError("n0", "away"),
    ],
)
async def test_node_that_lies_makes_no_other_rank_a_straggler(lie: Any) -> None:
    watched = Watched()
    watched.machines[2].slow = False
    watched.machines[0].lies = lie
    async with watching(watched):
        await until(lambda: watched.machines[1].asked > 20)
    assert watched.emitted == []


async def test_watch_ends_once_the_run_is_being_stopped() -> None:
    watched = Watched()
    watched.nodes[0].stopped_at = time.time()
    await asyncio.wait_for(watched.watch.watch(), 30)
