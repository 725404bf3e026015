"""Where the ranks meet: what nodes say of ways and ports is parsed, whatever they say."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchestrator import events
from orchestrator.errors import LaunchError, PlanError
from orchestrator.inventory import Host
from orchestrator.meet import find_network, reserve_port
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.ssh import ConnectOptions

from .plan.helpers import facts, interface

# They share no subnet, so they are asked for the way.
APART = [
    facts("a", interface("eth0", "198.18.1.1/24")),
    facts("b", interface("eth0", "198.18.2.1/24")),
]


class Says:
    """An agent that gives one answer to each verb."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    async def ask(self, verb: str, **arguments: Any) -> Any:
        return self._answers[verb]


def fleet(**answers: Any) -> Fleet:
    found = Fleet([Host(name=n, address=n) for n in ("node0", "node1")], ConnectOptions())
    found.agents = cast(Any, [Says(**answers), Says(**answers)])
    return found


def nothing(event: events.Event) -> None:
    pass


async def test_the_way_is_what_routing_says() -> None:
    route = {"source": "198.18.1.1", "interface": "eth0"}
    found = await find_network(fleet(route=route), APART, "198.18.1.1")
    assert (found.interfaces, found.addresses) == (("eth0",) * 2, ("198.18.1.1",) * 2)


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
async def test_a_way_that_makes_no_sense_is_said_with_the_node(route: Any) -> None:
    with pytest.raises(LaunchError, match="node0"):
        await find_network(fleet(route=route), APART, "198.18.1.1")


@pytest.mark.parametrize(
    "owner", [[], 7, *({"user": "x", "pid": pid, "command": ""} for pid in ("y", -1, float("inf")))]
)
@pytest.mark.parametrize("port", [None, True, -1, 70000, "29500", 10**30])
async def test_a_port_or_an_owner_that_makes_no_sense_is_a_taken_port(
    port: Any, owner: Any
) -> None:
    with pytest.raises(PlanError, match="node0"):
        await reserve_port(fleet(reserve=port, owner=owner), "198.18.1.1", 29500, nothing)


async def test_who_has_the_port_is_told_in_one_harmless_line() -> None:
    owner = {"user": "x\x1b[2J", "pid": 17, "command": "nc\n-l"}
    with pytest.raises(PlanError) as raised:
        await reserve_port(fleet(reserve=None, owner=owner), "198.18.1.1", 29500, nothing)
    assert raised.value.message.isprintable()
