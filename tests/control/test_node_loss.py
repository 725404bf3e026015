"""When a node that cannot be reached counts as gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from orchestrator import events
from orchestrator.control.node_loss import find_lost_nodes, watch_nodes
from orchestrator.errors import NodeError
from orchestrator.plan import NodePlan
from tests.runs.fakes import FakeAgent, FakeConnection, until
from tests.runs.helpers import plan_of

TIMEOUT = 0.05
PLAN = plan_of(1, 1, 1, 1, 1, 1)


class Node:
    """The part of a follower that the watch uses."""

    def __init__(self, number: int, probe: Any = None, *, away: bool = False) -> None:
        """`probe` is its answer to a probe: a result, another answer, or a function that returns one."""
        self.plan: NodePlan = PLAN.nodes[number]
        self.name = self.plan.name
        answer = [{"result": probe}] if isinstance(probe, str) else probe
        self.agent = FakeAgent(answers={"probe": answer})
        self.connection = FakeConnection(self.agent, is_up=not away)
        self.away_since = time.monotonic() if away else None
        self.gone: str | None = None
        self.is_over = False
        self.is_heard = not away
        self.looks = 0
        """How often `has_ended` was read, which is once per round."""

    def give_up(self, why: str) -> None:
        self.gone = why

    @property
    def has_ended(self) -> bool:
        self.looks += 1
        return self.is_over

    async def responds(self, timeout: float) -> bool:
        return self.is_heard


class Watched:
    def __init__(self) -> None:
        self.emitted: list[events.Event] = []
        self.news = 0

    def on_gone(self) -> None:
        self.news += 1


@asynccontextmanager
async def watched(*nodes: Node, timeout: float = TIMEOUT) -> AsyncIterator[Watched]:
    """Watch `nodes` in the background."""
    heard = Watched()
    task = asyncio.create_task(
        watch_nodes(cast(Any, nodes), 29500, timeout, heard.emitted.append, heard.on_gone)
    )
    try:
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):  # other errors fail the test
            await task


@pytest.mark.parametrize("outcome", ["timeout", "unreachable", "no-route"])
async def test_node_that_no_peer_reaches_is_gone(outcome: str) -> None:
    away, witness = Node(0, away=True), Node(1, outcome)
    async with watched(away, witness) as heard:
        await until(lambda: away.gone is not None)
        assert heard.news == 1
    assert away.gone is not None
    assert "neither from here nor from the other nodes" in away.gone
    ((verb, arguments),) = witness.agent.asked
    assert (verb, arguments["targets"]) == (
        "probe", [("n0.example", 22, ""), ("n0.example", 29500, "")]
    )  # fmt: skip


@pytest.mark.parametrize("outcome", ["ok", "refused"])
async def test_node_that_a_peer_reaches_is_alive_and_reported_once(outcome: str) -> None:
    away, witness = Node(0, away=True), Node(1, outcome)
    async with watched(away, witness) as heard:
        await until(lambda: len(witness.agent.asked) >= 3)  # it is asked again after each timeout
    assert (away.gone, heard.news) == (None, 0)
    (warning,) = heard.emitted
    assert isinstance(warning, events.Warned)
    assert warning.message.startswith("n0 cannot be reached from here, but n1 reaches it")


async def test_one_peer_that_reaches_the_node_is_enough() -> None:
    away = Node(0, away=True)
    witnesses = [Node(1, "timeout"), Node(2, "ok"), Node(3, NodeError("n0", "it is busy"))]
    async with watched(away, *witnesses) as heard:
        await until(lambda: heard.emitted != [])
    assert away.gone is None


async def test_three_peers_that_agree_are_enough() -> None:
    away, witnesses = Node(0, away=True), [Node(n, "timeout") for n in (1, 2, 3, 4, 5)]
    async with watched(away, *witnesses):
        await until(lambda: away.gone is not None)
    assert [len(node.agent.asked) for node in witnesses] == [1, 1, 1, 0, 0]


async def test_more_peers_are_asked_if_the_first_have_no_result() -> None:
    away, witness = Node(0, away=True), Node(4, "ok")
    mute = [Node(n, NodeError("n0", "it is busy")) for n in (1, 2, 3)]
    async with watched(away, *mute, witness) as heard:
        await until(lambda: heard.emitted != [])
    assert away.gone is None


@pytest.mark.parametrize(
    "answer", ["error", "a word of tomorrow", NodeError("n0", "it broke off"), [], [{}], [3], 3]
)
async def test_peer_without_a_valid_result_does_not_count(answer: object) -> None:
    away, witness = Node(0, away=True), Node(1, answer)
    async with watched(away, witness):
        await until(lambda: len(witness.agent.asked) >= 2)
    assert away.gone is None


async def test_node_without_peers_is_not_gone() -> None:
    """The controller itself may be offline: a laptop that moves."""
    nodes = [Node(n, "timeout", away=True) for n in (0, 1)]
    async with watched(*nodes) as heard:
        await until(lambda: nodes[1].looks >= 5)
    assert [node.gone for node in nodes] == [None, None]
    assert heard.emitted == []


async def test_node_that_has_ended_is_not_probed() -> None:
    over, gone, witness = Node(0, away=True), Node(1, away=True), Node(2, "timeout")
    over.is_over = True
    async with watched(over, gone, witness):
        await until(lambda: gone.gone is not None)
    assert over.gone is None


async def test_node_that_is_back_in_time_is_not_probed() -> None:
    back, gone, witness = Node(0, away=True), Node(1, away=True), Node(2, "timeout")
    back.away_since = None
    async with watched(back, gone, witness):
        await until(lambda: gone.gone is not None)
    assert back.gone is None
    assert len(witness.agent.asked) == 1


async def test_peers_are_asked_before_the_timeout_and_the_node_is_gone_at_its_end() -> None:
    asked_at = []

    def answer(_: object) -> list[dict[str, str]]:
        asked_at.append(time.monotonic())
        return [{"result": "timeout"}]

    away, witness = Node(0, away=True), Node(1, answer)
    async with watched(away, witness, timeout=1.0):
        await until(lambda: away.gone is not None)
    gone_at = time.monotonic()
    assert away.away_since is not None
    end = away.away_since + 0.5  # the other half of the timeout was silence
    assert asked_at[0] < end <= gone_at
    assert len(asked_at) == 1


async def test_node_that_is_back_after_its_peers_were_asked_is_not_gone() -> None:
    back, gone, witness = Node(0, away=True), Node(1, away=True), Node(2, "timeout")
    async with watched(back, gone, witness, timeout=1.0):
        await until(lambda: len(witness.agent.asked) == 2)
        back.away_since = None
        await until(lambda: gone.gone is not None)
    assert back.gone is None


async def test_node_that_a_peer_reached_gets_the_full_timeout_again() -> None:
    results = ["ok", "timeout"]
    away, witness = Node(0, away=True), Node(1, lambda _: [{"result": results.pop(0)}])
    async with watched(away, witness, timeout=0.4) as heard:
        await until(lambda: heard.emitted != [])
        reached_at = time.monotonic()
        await until(lambda: away.gone is not None)
    assert time.monotonic() - reached_at > 0.35


async def test_timeout_of_zero_never_loses_a_node() -> None:
    nodes = [Node(0, away=True), Node(1, "timeout")]
    heard = Watched()
    watching = watch_nodes(cast(Any, nodes), 29500, 0.0, heard.emitted.append, heard.on_gone)
    await asyncio.wait_for(watching, 5)
    assert nodes[1].agent.asked == []


# -- after a failure --------------------------------------------------------------------------------


async def looked_for(*nodes: Node) -> list[str | None]:
    """Find lost nodes, and return why each counts as gone."""
    await find_lost_nodes(cast(Any, nodes), 29500)
    return [node.gone for node in nodes]


async def test_find_lost_nodes_marks_a_node_that_nothing_reaches() -> None:
    silent, peer = Node(0), Node(1, "timeout")
    silent.is_heard = False  # the connection has not noticed yet
    said = await looked_for(silent, peer)
    assert said == ["vanished: neither orch nor the other nodes reach it", None]


async def test_find_lost_nodes_keeps_a_busy_node() -> None:
    busy, peer = Node(0), Node(1, "ok")
    busy.is_heard = False
    assert await looked_for(busy, peer) == [None, None]


async def test_find_lost_nodes_asks_no_silent_peers() -> None:
    nodes = [Node(0, "ok", away=True), Node(1, "ok", away=True), Node(2, "timeout")]
    said = await looked_for(*nodes)
    assert [gone is not None for gone in said] == [True, True, False]
    assert nodes[0].agent.asked == nodes[1].agent.asked == []


async def test_find_lost_nodes_probes_nothing_if_all_respond() -> None:
    nodes = [Node(0, "ok"), Node(1, "ok")]
    assert await looked_for(*nodes) == [None, None]
    assert nodes[0].agent.asked == []


async def test_find_lost_nodes_keeps_a_node_that_has_ended() -> None:
    over, peer = Node(0, away=True), Node(1, "timeout")
    over.is_over = True
    assert await looked_for(over, peer) == [None, None]
