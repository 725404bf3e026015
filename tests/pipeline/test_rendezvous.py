"""The rendezvous: answers of nodes about routes and ports, valid or not."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchestrator import events
from orchestrator.errors import LaunchError, NodeError, PlanError
from orchestrator.inventory import Host
from orchestrator.pipeline.rendezvous import find_network, reserve_port
from orchestrator.remote.fleet import Fleet
from tests.plan.helpers import facts, interface
from tests.remote.fake import FakeTransport

# They share no subnet, so they are asked for routes.
APART = [
    facts("a", interface("eth0", "198.18.1.1/24")),
    facts("b", interface("eth0", "198.18.2.1/24")),
]


class Says:
    """An agent with one answer for each verb."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    async def ask(self, verb: str, **arguments: Any) -> Any:
        return self._answers[verb]


def fleet(**answers: Any) -> Fleet:
    found = Fleet([Host(name=n, address=n) for n in ("node0", "node1")], FakeTransport())
    found.agents = cast(Any, [Says(**answers), Says(**answers)])
    return found


def nothing(event: events.Event) -> None:
    pass


async def test_network_without_shared_subnet_follows_the_routes() -> None:
    route = {"source": "198.18.1.1", "interface": "eth0"}
    found = await find_network(fleet(route=route), APART, "198.18.1.1")
    assert (found.interfaces, found.addresses) == (("eth0",) * 2, ("198.18.1.1",) * 2)


async def test_internal_addresses_win_over_the_routes() -> None:
    route = {"source": "198.18.9.9", "interface": "eth9"}
    nodes = fleet(route=route)
    nodes.hosts = (nodes.hosts[0], Host(name="node1", internal_address="198.18.2.1"))
    found = await find_network(nodes, APART, "198.18.1.1")
    assert (found.interfaces, found.addresses) == (("eth9", "eth0"), ("198.18.9.9", "198.18.2.1"))
    nodes.hosts = (Host(name="node0", internal_address="198.18.1.1"), nodes.hosts[1])
    found = await find_network(nodes, APART, None)
    assert (found.address, found.addresses) == ("198.18.1.1", ("198.18.1.1", "198.18.2.1"))


async def test_internal_address_that_a_node_lacks_is_refused() -> None:
    nodes = fleet()
    nodes.hosts = tuple(
        Host(name=n, internal_address=f"192.0.2.{n[-1]}") for n in ("node0", "node1")
    )
    with pytest.raises(PlanError) as caught:
        await find_network(nodes, APART, None)
    assert caught.value.message.splitlines() == [
        "node0: internal_address 192.0.2.0 is not an address of this node; it has 198.18.1.1 (eth0)",
        "node1: internal_address 192.0.2.1 is not an address of this node; it has 198.18.2.1 (eth0)",
    ]


@pytest.mark.parametrize(
    "route",
    [
        None,
        [],
        {},
        {"source": "$(reboot)", "interface": "eth0"},
        {"source": "198.18.1.1", "interface": "eth0; reboot"},
        {"source": 7.5, "interface": "eth0"},
    ],
)
async def test_invalid_route_is_an_error_of_that_node(route: Any) -> None:
    with pytest.raises(LaunchError, match=r"node\[0-1\]"):
        await find_network(fleet(route=route), APART, "198.18.1.1")


@pytest.mark.parametrize(
    "owner", [[], 7, *({"user": "x", "pid": pid, "command": ""} for pid in ("y", -1, float("inf")))]
)
@pytest.mark.parametrize("port", [None, True, -1, 70000, "29500", 10**30])
async def test_invalid_port_or_owner_is_an_error_of_the_main_node(port: Any, owner: Any) -> None:
    with pytest.raises(NodeError, match=r"node0: invalid answer to '(reserve|owner)'"):
        await reserve_port(fleet(reserve=port, owner=owner), "198.18.1.1", 29500, nothing)


async def test_secrets_in_the_command_of_the_port_owner_are_masked() -> None:
    owner = {"user": "x", "pid": 17, "command": "serve --api-key hunter2 pg://me:hunter3@db"}
    with pytest.raises(PlanError) as raised:
        await reserve_port(fleet(reserve=None, owner=owner), "198.18.1.1", 29500, nothing)
    assert "hunter" not in str(raised.value)
    assert "serve --api-key *** pg://me:***@db" in raised.value.message


async def test_port_of_another_run_is_reported_with_the_command_that_stops_it() -> None:
    owner = {"user": "x", "pid": 17, "command": "python t.py", "run": "train-lusab"}
    with pytest.raises(PlanError) as raised:
        await reserve_port(fleet(reserve=None, owner=owner), "198.18.1.1", 29500, nothing)
    assert "is taken by run train-lusab of user x" in raised.value.message
    assert "`orch stop train-lusab` where it was launched" in str(raised.value.remedy)
    assert "kill" not in str(raised.value)


async def test_port_of_a_process_of_another_user_is_reported_without_command() -> None:
    owner = {"user": "x", "pid": None, "command": None, "run": None}
    with pytest.raises(PlanError, match="is taken by a process of user x"):
        await reserve_port(fleet(reserve=None, owner=owner), "198.18.1.1", 29500, nothing)


async def test_port_owner_is_reported_in_one_printable_line() -> None:
    owner = {"user": "x\x1b[2J", "pid": 17, "command": "nc\n-l"}
    with pytest.raises(PlanError) as raised:
        await reserve_port(fleet(reserve=None, owner=owner), "198.18.1.1", 29500, nothing)
    assert raised.value.message.isprintable()
