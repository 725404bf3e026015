"""Choose the address of the rendezvous, and on each node the interface on its network.

The address used for SSH (public, or behind a jump host) is often not on the network between the machines,
so orch looks for the subnet in which every node has its own address. A subnet in which two nodes have
the same address is not shared (docker0 is 172.17.0.1 everywhere).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from orchestrator.errors import PlanError
from orchestrator.plan.facts import Address, Facts, Interface
from orchestrator.util.text import first_few

INTERNAL_REMEDY = (
    "give the address that the node itself has in the network of the ranks (`ip -brief address` shows it), "
    "or leave internal_address out"
)
_MAX_SHOWN = 6  # addresses

# The interface and address of each node in one subnet, main first.
_Endpoints = list[tuple[Interface, Address]]


@dataclass(frozen=True)
class Network:
    """The network of the ranks: main's `address`, and the interface and own address of each node.

    `subnet` is None if the nodes share none and rely on routing.
    """

    address: str
    interfaces: tuple[str | None, ...]
    subnet: str | None
    addresses: tuple[str | None, ...]


def choose_network(
    nodes: Sequence[Facts], address: str | None = None, internal: Sequence[str | None] = ()
) -> Network | None:
    """Return the network that all `nodes` (main first) share; None if they share no subnet.

    With an `address`, which the user gave for main, it is the network of that address. A node that has an
    `internal` address is in the network by that one. If all nodes are one machine, it is loopback.
    """
    identities = {facts.identity for facts in nodes}
    if len(identities) == 1 and len(nodes) > 1 and address is None and not any(internal):
        count = len(nodes)
        return Network("127.0.0.1", ("lo",) * count, "127.0.0.0/8", ("127.0.0.1",) * count)
    given = [_endpoints(*pair) for pair in zip_longest(nodes, internal)]
    found = [each for each in _shared_subnets(given) if address in (None, str(each[0][1].ip))]
    if not found:
        return None
    best = max(found, key=lambda endpoints: _merit(endpoints, nodes[0].ssh_address))
    return Network(
        address=str(best[0][1].ip),
        interfaces=tuple(interface.name for interface, _ in best),
        subnet=str(best[0][1].network),
        addresses=tuple(str(own.ip) for _, own in best),
    )


def check_distinct(names: Sequence[str], nodes: Sequence[Facts]) -> None:
    """Raise PlanError if some, but not all, of the nodes are the same machine."""
    seen: dict[str, str] = {}
    for name, facts in zip(names, nodes, strict=True):
        other = seen.setdefault(facts.identity, name)
        if other != name and len({facts.identity for facts in nodes}) > 1:
            raise PlanError(
                f"{other} and {name} are two names of one machine ({facts.hostname})",
                remedy="list each machine once, with the number of its devices",
            )


def routed_network(address: str, routes: Sequence[tuple[str | None, str | None]]) -> Network:
    """Return the network by which nodes route to `address`, with the (interface, address) of each."""
    interfaces, addresses = zip(*routes, strict=True)
    return Network(address, interfaces, None, addresses)


def interface_of(facts: Facts, address: str) -> str | None:
    """Return the interface that has `address` on this node, None if none has."""
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return None
    for interface in facts.interfaces:
        if any(own.ip == wanted for own in interface.addresses):
            return interface.name
    return None


def lacks_internal(facts: Facts, address: str) -> str:
    """Return what is wrong with a node that does not have its internal address."""
    own = [f"{each.ip} ({at.name})" for at, each in _endpoints(facts, None)]
    has = first_few(own, _MAX_SHOWN) or "none but loopback"
    return f"internal_address {address} is not an address of this node; it has {has}"


def interface_variables(interface: str | None, existing: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that bind NCCL, gloo and TensorPipe to `interface`, except `existing` ones.

    NCCL treats a name as a prefix unless `=` precedes it; the others take one exact name.
    """
    if interface is None:
        return {}
    wanted = {
        "NCCL_SOCKET_IFNAME": f"={interface}",
        "GLOO_SOCKET_IFNAME": interface,
        "TP_SOCKET_IFNAME": interface,
    }
    return {name: value for name, value in wanted.items() if name not in existing}


def _shared_subnets(nodes: Sequence[_Endpoints]) -> Iterator[_Endpoints]:
    """Yield the endpoints of all nodes in each of the main node's subnets that they share."""
    for main in nodes[0]:
        shared = [main]
        for endpoints in nodes[1:]:
            taken = [own.ip for _, own in shared]
            shared += [
                each
                for each in endpoints
                if each[1].network == main[1].network and each[1].ip not in taken
            ][:1]
        if len(shared) == len(nodes):
            yield shared


def _endpoints(facts: Facts, internal: str | None) -> _Endpoints:
    """Return the interfaces and addresses by which a node may be in the network of the ranks."""
    return [
        (interface, own)
        for interface in facts.interfaces
        if not interface.loopback
        for own in interface.addresses
        if internal is None or own.ip == ipaddress.ip_address(internal)
    ]


def _merit(endpoints: _Endpoints, ssh_address: str | None) -> tuple[bool, int, bool, bool]:
    """Return the sort key of a subnet: IPv4 first, then the fastest links, then the network of SSH."""
    main = endpoints[0][1]
    return (
        main.version == 4,
        min(interface.speed or 0 for interface, _ in endpoints),
        ssh_address == str(main.ip),
        not main.ip.is_link_local,
    )
