"""The measurement of reachability: agents listen and connect to each other on loopback."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.errors import NodeError, PlanError
from orchestrator.inventory import Host
from orchestrator.preflight.model import Context, Level, NoAnswer
from orchestrator.preflight.reach.attempts import Way
from orchestrator.preflight.reach.listeners import CannotListen
from orchestrator.preflight.reach.reachability import Reachability, measure, peers
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from tests.homes import copy_node
from tests.remote.fake import FakeNode, FakeTransport

from ..contexts import make_context

Advance = list[tuple[str, bool]]


def names(n: int) -> list[str]:
    return [f"node{i}" for i in range(n)]


def here(n: int, port: int, **more: Any) -> Context:
    """Return a context in which all nodes are this machine, as with --local."""
    made = make_context(n, port=port, **more)
    nodes = tuple(replace(node, interface="lo", address="127.0.0.1") for node in made.plan.nodes)
    return replace(made, plan=replace(made.plan, main_address="127.0.0.1", nodes=nodes))


def fleet_of(agents: list[Any]) -> Fleet:
    fleet = Fleet([], FakeTransport())
    fleet.agents = agents
    return fleet


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
async def agents(
    tmp_path: Path, used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[int], Any]]:
    copy_node(used_home, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    opened: list[tuple[FakeNode, Agent]] = []

    async def give(n: int) -> list[Agent]:
        for name in names(n):
            node = FakeNode(Host(name=name, address="127.0.0.1"))
            opened.append((node, await Agent.open(node)))
        return [agent for _, agent in opened]

    yield give
    for node, agent in opened:
        await agent.close()
        await node.close()


async def test_measure_on_one_machine_passes_all_ways(agents: Any, free_port: int) -> None:
    advance: Advance = []
    found = await measure(
        fleet_of(await agents(3)),
        here(3, free_port),
        lambda name, succeeded: advance.append((name, succeeded)),
    )
    assert all(outcome.passed for outcome in found.outcomes.values())
    assert len(found.outcomes) == 3 * 3 + 3  # each to each and to itself, and to the main port
    assert len(found.round_trips) == 6
    assert (found.faults, found.silent, found.main_port) == ((), {}, None)
    assert sorted(advance) == [(name, True) for name in names(3)]


async def test_measure_leaves_no_listener(agents: Any, free_port: int) -> None:
    fleet = fleet_of(await agents(1))
    for _ in range(2):  # the port is free again at once
        found = await measure(fleet, here(1, free_port), lambda *_: None)
        assert found.outcomes[Way("node0", "node0", "main")].passed
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port))


async def test_measure_with_the_main_port_taken_tries_the_other_ports(agents: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = await measure(fleet_of(await agents(2)), here(2, port), lambda *_: None)
    assert isinstance(found.main_port, CannotListen)
    assert found.main_port.errno == errno.EADDRINUSE
    assert {way.port for way in found.outcomes} == {"ephemeral"}
    assert all(outcome.passed for outcome in found.outcomes.values())


async def test_measure_does_not_try_a_main_port_known_to_be_taken(
    agents: Any, free_port: int
) -> None:
    trouble = {"net.bind": PlanError("port 1 is taken", node="node0")}
    shut = here(2, free_port, trouble=trouble)
    found = await measure(fleet_of(await agents(2)), shut, lambda *_: None)
    assert found.main_port is not None and found.main_port.reason == "node0: port 1 is taken"


async def test_measure_leaves_out_a_node_without_an_address(agents: Any, free_port: int) -> None:
    made = here(3, free_port)
    lost = replace(made.plan.nodes[2], address=None)
    made = replace(made, plan=replace(made.plan, nodes=(*made.plan.nodes[:2], lost)))
    found = await measure(fleet_of(await agents(3)), made, lambda *_: None)
    assert set(found.silent) == {"node2"}
    assert set(found.round_trips) == {("node0", "node1"), ("node1", "node0")}


class Liar:
    """An agent that answers anything."""

    node = SimpleNamespace(name="node1")

    def __init__(self, listening: Any, probed: Any) -> None:
        self._listening, self._probed = listening, probed

    @asynccontextmanager
    async def run_task(self, verb: str, **arguments: Any) -> AsyncIterator[Any]:
        if isinstance(self._listening, Exception):
            raise self._listening
        yield self._listening

    async def ask(self, verb: str, **arguments: Any) -> Any:
        if isinstance(self._probed, Exception):
            raise self._probed
        return self._probed


@pytest.mark.parametrize(
    ("listening", "probed"),
    [
        (NodeError("node1", "it has gone"), []),
        (None, []),
        ({"ports": []}, []),
        ({"ports": "ab"}, []),
        ({"ports": [{"error": 1}]}, []),
        ({"ports": [1]}, NodeError("node1", "it has gone")),
        ({"ports": [1]}, None),
        ({"ports": [1]}, []),
        ({"ports": [1]}, [{"result": "ok"}] * 3),
        ({"ports": [1]}, [{"result": "ok", "seconds": "x"}] * 3),
        ({"ports": [1]}, [{"result": "ok", "seconds": 1, "icmp": 5}] * 3),
    ],
)
async def test_measure_treats_an_invalid_response_as_no_answer(
    agents: Any, free_port: int, listening: Any, probed: Any
) -> None:
    (honest,) = await agents(1)
    fleet = fleet_of([honest, cast(Agent, Liar(listening, probed))])
    found: Reachability = await measure(fleet, here(2, free_port), lambda *_: None)
    assert isinstance(found.silent["node1"], NoAnswer)
    assert "node1" not in found.silent["node1"].reason  # callers add the name
    assert found.outcomes[Way("node0", "node0", "main")].passed


class Busy:
    """An agent whose node answers the first try too late; `again` is how the second one ends."""

    def __init__(self, again: str) -> None:
        self._again = again
        self.timeouts: list[float] = []
        self.node = SimpleNamespace(name="node1")

    @asynccontextmanager
    async def run_task(self, verb: str, **arguments: Any) -> AsyncIterator[Any]:
        yield {"ports": [1]}

    async def ask(self, verb: str, **arguments: Any) -> Any:
        if verb == "check":
            return {"limits.load": {"ok": {"load": 63.4, "cores": 2}}}
        self.timeouts.append(arguments["patience"])
        result = "silent" if len(self.timeouts) == 1 else self._again
        return [{"result": result, "seconds": 0.1}] * len(arguments["targets"])


@pytest.mark.parametrize(("again", "late"), [("ok", {"node0", "node1"}), ("silent", set())])
async def test_measure_tries_what_was_accepted_and_not_answered_again(
    free_port: int, again: str, late: set[str]
) -> None:
    agents = [Busy(again), Busy(again)]
    found = await measure(fleet_of(cast(list[Any], agents)), here(2, free_port), lambda *_: None)
    assert [agent.timeouts for agent in agents] == [[4.0, 8.0]] * 2
    assert found.late == late
    assert bool(found.faults) == (again != "ok")
    assert found.is_stuck("node1") == (again != "ok")
    assert str(found.defences["node1"].load) == "load 63 on 2 cores"


def test_peers_are_star_and_ring_or_all_pairs() -> None:
    assert peers(names(5), Level.QUICK) == [[1, 2, 3, 4], [2, 0], [3, 0, 1], [4, 0, 2], [0, 3]]
    assert peers(names(5), Level.FULL)[2] == [3, 4, 0, 1]
    assert peers(names(1), Level.FULL) == peers(names(1), Level.QUICK) == [[]]
    assert peers(names(2), Level.QUICK) == [[1], [0]]


@pytest.mark.parametrize("level", Level)
def test_peers_grow_with_the_nodes(level: Level) -> None:
    ways = [sum(map(len, peers(names(n), level))) for n in (256, 1024)]
    assert ways[1] < 4.2 * ways[0]
    assert ways[1] < 24 * 1024


def test_peers_of_many_nodes_are_symmetric_and_reproducible() -> None:
    chosen = peers(names(300), Level.FULL)
    assert chosen == peers(names(300), Level.FULL)
    assert all(i in chosen[j] for i in range(300) for j in chosen[i])
    assert all(10 <= len(own) < 60 for own in chosen[1:])
