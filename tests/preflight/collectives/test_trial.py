"""Trials on nodes with any behaviour: they end within their limits, and everything is discarded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.errors import NodeError
from orchestrator.preflight.collectives import trial
from orchestrator.preflight.collectives.task import Done
from orchestrator.preflight.collectives.trial import Share, run_trial
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import Chunk, ProcessEnd, RankReport, Report, StatusReport

from ..contexts import make_context

MARK = "4f1c "
WELL = [StatusReport("ended", ProcessEnd(0, None), ())]


def output(rank: int, data: bytes) -> Chunk:
    return Chunk(f"attempt-0/rank-{rank}.out", 0, 0.0, data)


def failure(rank: int) -> RankReport:
    return RankReport(rank, 0, 0, 17, 0.0, 1.0, ProcessEnd(3, None))


class Node:
    """An agent with these answers and reports, which then hangs if it `hangs`."""

    def __init__(self, reports: Sequence[Report] = WELL, *, hangs: bool = False, **answers: Any):
        self.asked: list[str] = []
        self.followed = asyncio.Event()
        self._reports = reports
        self._hangs = hangs
        self._answers = {"put": {"folder": "/f"}, "start": {"problem": None}, "discard": {}}
        self._answers.update(answers)

    async def ask(self, verb: str, **_: Any) -> Any:
        self.asked.append(verb)
        answer = self._answers[verb]
        if isinstance(answer, NodeError):
            raise answer
        return answer

    async def follow(self, run: str, offsets: dict[str, int]) -> AsyncIterator[Report]:
        self.followed.set()
        for report in self._reports:
            yield report
        if self._hangs:
            await asyncio.Event().wait()


async def tried(*nodes: Node, limit: float = 30) -> tuple[Share, ...]:
    """Run a trial on these nodes, and assert that each was asked to discard it, whatever the result."""
    fleet = cast(Fleet, SimpleNamespace(agents=nodes))
    plan = make_context(len(nodes)).plan
    shares = await run_trial(fleet, plan, "script", MARK, limit, lambda name, well: None)
    assert [node.asked[-1] for node in nodes] == ["discard"] * len(nodes)
    return shares


async def test_trial_returns_shares_in_node_order() -> None:
    first, second = await tried(
        Node([output(0, b'4f1c {"done": {"rank": 0}}\n'), *WELL]),
        Node([output(1, b"other\n4f1c "), output(1, b'{"done": {"rank": 1}}\n'), *WELL]),
    )
    assert (first.node, first.messages) == ("node0", (Done(0),))
    assert second.messages == (Done(1),)
    assert second.output == {"rank-1.out": ("other",)}
    assert not first.failed
    assert not second.failed


async def test_messages_for_ranks_of_another_node_are_ignored() -> None:
    lies: list[Report] = [output(0, b'4f1c {"done": {"rank": 1}}\n'), failure(1), *WELL]
    first, _ = await tried(Node(lies), Node())
    assert first.messages == ()
    assert not first.failed


async def test_streams_of_a_node_are_limited_by_its_ranks() -> None:
    flood = [Chunk(f"attempt-0/rank-{n}.out", 0, 0.0, b"word\n") for n in range(1000)]
    (share,) = await tried(Node([*flood, *WELL]))
    assert len(share.output) == 4


@pytest.mark.parametrize("answer", [None, [], {"nothing": 1}, NodeError("node0", "disk full")])
async def test_failed_upload_starts_nothing(answer: Any) -> None:
    good, bad = Node(), Node(put=answer)
    first, second = await tried(good, bad)
    assert "start" not in [*good.asked, *bad.asked]
    assert first.problem is None
    assert second.problem is not None


@pytest.mark.parametrize("answer", [None, {}, {"problem": "no python\x1b[2J"}])
async def test_node_that_cannot_start_stops_the_others(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_FAILURE_DELAY", 0.05)
    first, second = await tried(Node([], hangs=True), Node(start=answer))
    assert not first.failed
    assert second.problem is not None
    assert second.problem.isprintable()


async def test_failure_on_one_node_leaves_the_others_time_to_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "_FAILURE_DELAY", 0.05)
    first, second = await tried(Node([], hangs=True), Node([failure(1)], hangs=True))
    assert not first.failed
    assert second.ranks == {1: ProcessEnd(3, None)}


async def test_trial_without_output_ends_at_the_limit() -> None:
    (share,) = await tried(Node([], hangs=True), limit=0.05)
    assert not share.failed


async def test_dead_supervisor_is_a_problem() -> None:
    (share,) = await tried(Node([StatusReport("lost", None, ())]))
    assert share.problem is not None


async def test_failed_discard_is_a_problem() -> None:
    (share,) = await tried(Node(discard=NodeError("node0", "no answer")))
    assert share.problem == "it was lost: node0: no answer"


async def test_cancelled_trial_is_discarded() -> None:
    node = Node([], hangs=True)
    task = asyncio.ensure_future(tried(node))
    await asyncio.wait_for(node.followed.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert node.asked[-1] == "discard"
