"""A run without progress is reported once, with the suspect, and again only after progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orchestrator import events
from orchestrator.control import stall
from orchestrator.control.first_failure import NodeState
from orchestrator.control.stall import StallWatch
from orchestrator.control.verdict import how_stopped, stopped_code
from orchestrator.errors import NodeError
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Elastic
from orchestrator.reasons import Stop
from orchestrator.remote.reports import LeftBehind, RankReport, StatusReport
from orchestrator.runs.event_log import LoggedEvent
from orchestrator.runs.state import replay
from tests.runs.fakes import FakeAgent, FakeConnection, until
from tests.runs.helpers import KILL, OK, plan_of, rank

SECONDS = 0.4
C10D = "/site-packages/torch/distributed/distributed_c10d.py"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "_MIN_INTERVAL", 0.02)


@dataclass
class Machine:
    """Answers with a snapshot of one rank; `works` is how many seconds of CPU it uses per second."""

    rank: int
    call: str = "all_reduce"
    file: str = C10D
    works: float = 0.0
    asked: list[bool] = field(default_factory=list)

    def __call__(self, arguments: dict[str, Any]) -> Any:
        self.asked.append(arguments["brief"])
        used = time.monotonic() * self.works
        frames = [[self.call, self.file, 1], ["train", "/job/train.py", 88]]
        process = {
            "pid": 10 + self.rank, "rank": self.rank, "own": True, "name": "python", "state": "S",
            "used": used, "main_used": used, "moved": 0, "by": "signal", "why": "",
            "threads": [{"name": "MainThread", "main": True, "frames": frames}],
        }  # fmt: skip
        return {"at": time.monotonic(), "processes": [process], "sockets": []}


class Node:
    """The part of a follower that the watch uses."""

    def __init__(self, number: int, answer: Any) -> None:
        self.name = f"n{number}"
        self.connection = FakeConnection(FakeAgent(answers={"stacks": answer}))
        self.heard_at = time.monotonic()
        self.has_ended = False
        self.gone: str | None = None
        self.ranks: dict[int, RankReport] = {number: rank(number)}
        self.stopped_at: float | None = None
        self.status: StatusReport | None = None

    @property
    def state(self) -> NodeState:
        return NodeState(self.name, self.ranks, self.status, 0.0, self.stopped_at, self.gone)


class Watched:
    """Watch nodes with these machines (or errors) in the background."""

    def __init__(self, *answers: Any, elastic: Elastic | None = None, **more: Any) -> None:
        self.nodes = [Node(number, answer) for number, answer in enumerate(answers)]
        self.emitted: list[events.Event] = []
        plan = replace(plan_of(*(1 for _ in answers)), elastic=elastic)
        nodes: Any = self.nodes
        self.watch = StallWatch(nodes, plan, SECONDS, self.emitted.append, **more)

    async def __aenter__(self) -> Watched:
        self.task = asyncio.create_task(self.watch.watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        if not self.task.cancelled():
            self.task.result()

    def of(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.emitted)


async def nothing_for(watched: Watched, seconds: float, act: Callable[[], None]) -> None:
    """Call `act` repeatedly for a while and check that no event is emitted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        act()
        await asyncio.sleep(0.01)
        assert watched.emitted == []


async def test_run_that_waits_for_leftover_processes_has_not_stalled() -> None:
    async with Watched(Machine(0)) as watched:
        behind = LeftBehind(((7, "sleep"),), 60.0, ended=False)
        watched.nodes[0].status = StatusReport("running", None, (), behind=behind)
        await nothing_for(watched, 3 * SECONDS, lambda: None)


async def test_stall_is_reported_once_with_the_suspect() -> None:
    machines = Machine(0), Machine(1, call="load", file="/job/data.py")
    began = time.monotonic()
    async with Watched(*machines) as watched:
        await until(lambda: watched.of(events.Stalled) == 1)
        assert time.monotonic() - began >= SECONDS
        asked = len(machines[0].asked)
        await until(lambda: len(machines[0].asked) > asked + 10)
    (emitted,) = watched.emitted
    assert isinstance(emitted, events.Stalled)
    assert emitted.stacks == ("r0 all_reduce (train.py:88)", "r1 load (data.py:1)")
    assert emitted.suspect == "r1 load (data.py:1): r0 waits in all_reduce"
    assert machines[0].asked.count(False) == 1


async def test_no_snapshots_are_taken_while_ranks_print() -> None:
    machine = Machine(0)
    async with Watched(machine) as watched:

        def prints() -> None:
            watched.nodes[0].heard_at = time.monotonic()

        await nothing_for(watched, 3 * SECONDS, prints)
    assert machine.asked == []


async def test_run_with_one_working_rank_has_not_stalled() -> None:
    async with Watched(Machine(0), Machine(1, "load", "/job/data.py", works=2.0)) as watched:
        await nothing_for(watched, 3 * SECONDS, lambda: None)


async def test_ranks_that_spin_in_a_collective_have_stalled() -> None:
    async with Watched(Machine(0, works=1.0), Machine(1, works=1.0)) as watched:
        await until(lambda: watched.of(events.Stalled) == 1)


async def test_run_with_a_node_that_does_not_answer_has_not_stalled() -> None:
    async with Watched(Machine(0), NodeError("n1", "away")) as watched:
        await nothing_for(watched, 3 * SECONDS, lambda: None)


async def test_no_snapshots_are_taken_of_nodes_that_have_ended_or_are_gone() -> None:
    async with Watched(Machine(0), NodeError("n1", "away"), NodeError("n2", "away")) as watched:
        watched.nodes[1].has_ended = True
        watched.nodes[1].ranks[1] = rank(1, OK)
        watched.nodes[2].gone = "could not be reached"
        await until(lambda: watched.of(events.Stalled) == 1)
        (emitted,) = watched.emitted
        assert isinstance(emitted, events.Stalled)
        assert emitted.suspect == "r1 exited with 0: the others wait for it"


@pytest.mark.parametrize("how", ["prints", "moves"])
async def test_progress_after_a_stall_and_the_next_stall_are_reported(how: str) -> None:
    machine = Machine(0)
    async with Watched(machine) as watched:
        await until(lambda: watched.of(events.Stalled) == 1)
        if how == "prints":
            watched.nodes[0].heard_at = time.monotonic()
        else:
            machine.call = "barrier"
        await until(lambda: watched.of(events.Resumed) == 1)
        await until(lambda: watched.of(events.Stalled) == 2)
    assert [type(event).__name__ for event in watched.emitted] == ["Stalled", "Resumed", "Stalled"]


async def test_stall_known_to_an_earlier_controller_is_not_reported_again() -> None:
    machine = Machine(0)
    async with Watched(machine, is_stalled=True) as watched:
        await until(lambda: len(machine.asked) > 20)
        assert watched.emitted == []
        watched.nodes[0].heard_at = time.monotonic()
        await until(lambda: watched.of(events.Resumed) == 1)


async def test_on_stall_gets_the_suspect_and_the_watch_ends() -> None:
    heard: list[str] = []

    async def stop(why: str) -> None:
        heard.append(why)
        watched.nodes[0].stopped_at = time.time()

    async with Watched(Machine(0), on_stall=stop) as watched:
        await until(watched.task.done)
    assert heard == ["r0 all_reduce (train.py:88)"]
    assert watched.of(events.Resumed) == 0


async def test_stop_of_one_node_does_not_end_the_watch() -> None:
    """An elastic run continues without a node that has left it."""
    async with Watched(Machine(0), Machine(1)) as watched:
        watched.nodes[1].stopped_at = time.time()
        await until(lambda: watched.of(events.Stalled) == 1)


async def test_rendezvous_of_elastic_launchers_is_no_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stall, "_RENDEZVOUS_TIME", 4 * SECONDS)
    began = time.monotonic()
    async with Watched(Machine(0), elastic=Elastic(1, 2)) as watched:
        watched.nodes[0].ranks[0] = rank(0, KILL)
        await until(lambda: watched.of(events.Stalled) == 1)
    assert time.monotonic() - began >= 4 * SECONDS


def test_state_has_the_stall_until_there_is_progress() -> None:
    emitted = events.Stalled(60.0, ("r[0-1] all_reduce (train.py:88)",), (), "")
    log = [LoggedEvent(1.0, emitted), LoggedEvent(2.0, events.Resumed(60.0))]
    assert replay(log[:1]).stalled == emitted
    assert replay(log).stalled is None


def test_stop_for_a_stall_is_a_failure() -> None:
    stop = Stop(StopReason.STALL, text="r1 load (data.py:1)")
    assert (stopped_code(stop), "".join(how_stopped(stop))) == (1, "stalled: r1 load (data.py:1)")
