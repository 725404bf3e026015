"""Choose the rendezvous: the address of the main node on a network that all share, and a free port."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, Literal

from orchestrator import events
from orchestrator.errors import PlanError
from orchestrator.plan import Facts, Network, choose_network
from orchestrator.plan.facts import interface_name, ip_address
from orchestrator.plan.job import DEFAULT_PORT
from orchestrator.plan.masking import masked_command
from orchestrator.plan.network import (
    INTERNAL_REMEDY,
    check_distinct,
    interface_of,
    lacks_internal,
    routed_network,
)
from orchestrator.remote.agent import AgentRefusal
from orchestrator.remote.fleet import Fleet
from orchestrator.util.answers import count, parse_answer, text
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable


async def find_rendezvous(
    fleet: Fleet,
    facts: Sequence[Facts],
    emit: events.Emit,
    *,
    address: str | None,
    port: int | Literal["auto"] | None,
) -> tuple[Network, int]:
    """Choose or check `address` and `port` (None: any); return the network and the reserved port.

    Raises PlanError if nodes cannot reach the address, or a given port is taken.
    """
    check_distinct([host.name for host in fleet.hosts], facts)
    network = await find_network(fleet, facts, address)
    return network, await reserve_port(fleet, network.address, port, emit)


async def find_network(fleet: Fleet, facts: Sequence[Facts], address: str | None) -> Network:
    """Choose the network for the rendezvous, with `address` if it is given. Raises PlanError.

    A node with an `internal_address` is in it by that one; the main node's is where the ranks meet.
    """
    internal = [host.internal_address for host in fleet.hosts]
    _check_internal(fleet, facts)
    if address is not None:
        _check_owner(fleet, facts, address)
    network = choose_network(facts, address, internal)
    if network is not None:
        return network
    network = await _route_all(fleet, address or internal[0] or facts[0].ssh_address)
    given = [
        own and (interface_of(fact, own), own) for fact, own in zip(facts, internal, strict=True)
    ]
    found = zip(network.interfaces, network.addresses, strict=True)
    routes = [own or route for own, route in zip(given, found, strict=True)]
    return routed_network(network.address, routes)


async def _route_all(fleet: Fleet, address: str | None) -> Network:
    """Return the network in which all nodes have a route to `address`, if they share no subnet."""
    if address is None:
        raise PlanError(
            "the nodes share no subnet, so the rendezvous address is unknown",
            remedy="set the address of the main node: --main-address, or `main: {address: ...}`",
        )
    routes = await fleet.each(range(len(fleet.hosts)), lambda index: _route(fleet, index, address))
    return routed_network(address, routes)


async def _route(fleet: Fleet, index: int, address: str) -> tuple[str | None, str]:
    """Return the interface with which a node reaches the main node, and its own address on it."""
    name = fleet.hosts[index].name
    try:
        route = await fleet.agents[index].ask("route", address=address)
    except AgentRefusal as refusal:
        problem = f"{name}: main address {address}: {refusal.text}"
    else:
        found = parse_answer(name, "route", _parse_route, route)
        if found is not None:
            return found
        problem = f"{name} has no route to the main address {address}"
    raise PlanError(problem, remedy="set an address that all nodes reach: --main-address")


def _parse_route(route: Any) -> tuple[str | None, str] | None:
    """Return the interface and the source address of a route, None if there is none."""
    if route["source"] is None:
        return None
    interface = route["interface"]
    named = None if interface is None else interface_name(interface)
    return named, ip_address(text(route["source"]))


def _check_internal(fleet: Fleet, facts: Sequence[Facts]) -> None:
    """Raise PlanError if a node does not have its `internal_address`."""
    lines = []
    for host, fact in zip(fleet.hosts, facts, strict=True):
        address = host.internal_address
        if address is not None and interface_of(fact, address) is None:
            lines.append(f"{host.name}: {lacks_internal(fact, address)}")
    if lines:
        raise PlanError("\n".join(lines), remedy=INTERNAL_REMEDY)


def _check_owner(fleet: Fleet, facts: Sequence[Facts], address: str) -> None:
    """Raise PlanError if `address` belongs to a node other than the main node."""
    owner = next((i for i, fact in enumerate(facts) if interface_of(fact, address)), None)
    if owner is not None and interface_of(facts[0], address) is None:
        main, other = fleet.hosts[0].name, fleet.hosts[owner].name
        raise PlanError(
            f"{address} is an address of {other}, but {main} is the main node",
            remedy=f"put {other} first in the inventory, or set an address of {main}",
        )


async def reserve_port(
    fleet: Fleet, address: str, asked: int | Literal["auto"] | None, emit: events.Emit
) -> int:
    """Reserve a port on the main node: the one in `asked`, otherwise 29500 or any free one.

    Raises PlanError if it is taken, or `address` cannot be used.
    """
    main = fleet.hosts[0].name
    given = asked if isinstance(asked, int) else None
    wanted = {"preferred": given or DEFAULT_PORT, "exact": given is not None}
    try:
        port = await fleet.agents[0].ask("reserve", address=address, **wanted)
    except AgentRefusal as refusal:
        if refusal.errno != errno.EADDRNOTAVAIL:
            raise PlanError(f"main address {address}: {refusal.text}", node=main) from None
        emit(events.Warned(f"{address} is not an address of {main}; a NAT must translate it"))
        port = await fleet.agents[0].ask("reserve", address="0.0.0.0", **wanted)
    reserved = parse_answer(
        main, "reserve", lambda port: 0 if port is None else count(port, 65535), port
    )
    if not reserved:
        owner = await fleet.agents[0].ask("owner", address=address, port=wanted["preferred"])
        raise _taken(main, f"port {wanted['preferred']} on {address}", owner)
    return reserved


def _taken(main: str, port: str, owner: Any) -> PlanError:
    """Return the error that names the owner of the port; orch does not end it."""
    otherwise = "let orch pick a free port with --main-port auto"
    if owner is None:
        return PlanError(
            f"{port} is taken by another run of orch or a socket that does not listen",
            node=main,
            remedy=otherwise,
        )
    user, number, command, run = parse_answer(main, "owner", _parse_owner, owner)
    if run is not None:
        who = f"run {printable(run)} of user {printable(user)}"
        end = f"end it with `{line_to_paste(['orch', 'stop', run])}` where it was launched"
    elif number is None:
        who, end = f"a process of user {printable(user)}", "root can find and end it there"
    else:
        who = f"PID {number} of user {printable(user)}: {printable(masked_command(command))}"
        end = f"end it with `kill {number}` on {main} if it is not needed"
    return PlanError(f"{port} is taken by {who}", node=main, remedy=f"{end}, or {otherwise}")


def _parse_owner(owner: Any) -> tuple[str, int | None, str, str | None]:
    """Return the user, the process (None: unknown), the command, and the run of orch that use a port."""
    pid = owner["pid"]
    number = None if pid is None else count(pid, 1 << 31)
    if number == 0:
        raise ValueError("process 0")  # to `kill`, 0 means the whole process group
    run = owner.get("run")
    return (
        text(owner["user"]),
        number,
        text(owner["command"]) if number is not None else "",
        None if run is None else text(run),
    )
