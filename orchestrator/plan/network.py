"""Choose the address that the ranks meet at, and on each node the interface that leads there.

The address used for SSH (public, or behind a jump host) is often not on the network that the machines
share. So: the subnet in which every node has an address of its own wins. A subnet in which two nodes
have the SAME address is no network between them (docker0 is 172.17.0.1 everywhere).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import PlanError
from orchestrator.plan.facts import Address, Facts, Interface


@dataclass(frozen=True)
class Network:
    """Where the ranks meet: main's `address`, and the interface and own address of each node there.

    Both are in node order. `subnet` is the shared one, None when there is none and the way is left to
    routing.
    """

    address: str
    interfaces: tuple[str | None, ...]
    subnet: str | None
    addresses: tuple[str | None, ...]


@dataclass(frozen=True)
class _Candidate:
    subnet: ipaddress.IPv4Network | ipaddress.IPv6Network
    main: Address
    interfaces: tuple[Interface, ...]
    addresses: tuple[Address, ...]

    def merit(self, ssh_address: str | None) -> tuple[bool, int, bool, bool]:
        """Faster links first, then the network that SSH came by; IPv4 wins a tie."""
        speeds = [interface.speed or 0 for interface in self.interfaces]
        return (
            self.subnet.version == 4,
            min(speeds),
            ssh_address == str(self.main.ip),
            not self.main.ip.is_link_local,
        )


def choose_network(nodes: Sequence[Facts], address: str | None = None) -> Network | None:
    """Return the network that all `nodes` (main first) share; None when they share no subnet.

    With an `address` (the one that a person gave for main), the network is the one that holds it. All
    nodes being one machine, loopback serves. Raises PlanError when two nodes are one machine and
    others are not, for such a list is a mistake.
    """
    identities = [facts.identity for facts in nodes]
    if len(set(identities)) == 1 and len(nodes) > 1 and address is None:
        here = tuple("127.0.0.1" for _ in nodes)
        return Network("127.0.0.1", tuple("lo" for _ in nodes), "127.0.0.0/8", here)
    candidates = [found for found in _candidates(nodes) if address in (None, str(found.main.ip))]
    if not candidates:
        return None
    best = max(candidates, key=lambda found: found.merit(nodes[0].ssh_address))
    return Network(
        address=str(best.main.ip),
        interfaces=tuple(interface.name for interface in best.interfaces),
        subnet=str(best.subnet),
        addresses=tuple(str(own.ip) for own in best.addresses),
    )


def check_distinct(names: Sequence[str], nodes: Sequence[Facts]) -> None:
    """Raise PlanError when some, but not all, of the nodes are one and the same machine."""
    seen: dict[str, str] = {}
    for name, facts in zip(names, nodes, strict=True):
        other = seen.setdefault(facts.identity, name)
        if other != name and len({facts.identity for facts in nodes}) > 1:
            raise PlanError(
                f"{other} and {name} are two names of one machine ({facts.hostname})",
                remedy="list each machine once, with the number of its devices",
            )


def routed_network(address: str, ways: Sequence[tuple[str | None, str | None]]) -> Network:
    """Return the network in which routing leads to `address`, by these (interface, own address)."""
    interfaces, addresses = zip(*ways, strict=True)
    return Network(address, interfaces, None, addresses)


def interface_of(facts: Facts, address: str) -> str | None:
    """Return the interface that has `address` on this node; None where none has."""
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return None
    for interface in facts.interfaces:
        if any(item.ip == wanted for item in interface.addresses):
            return interface.name
    return None


def interface_variables(interface: str | None, existing: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that pin NCCL, gloo and RPC's TensorPipe to `interface`, without those that are
    set already.

    NCCL takes a name as a prefix unless `=` stands before it; the others take exactly one plain name.
    """
    if interface is None:
        return {}
    wanted = {
        "NCCL_SOCKET_IFNAME": f"={interface}",
        "GLOO_SOCKET_IFNAME": interface,
        "TP_SOCKET_IFNAME": interface,
    }
    return {name: value for name, value in wanted.items() if name not in existing}


def _candidates(nodes: Sequence[Facts]) -> list[_Candidate]:
    found = []
    for interface in nodes[0].interfaces:
        if interface.loopback:
            continue
        for own in interface.addresses:
            shared = _share(own, interface, nodes[1:])
            if shared is not None:
                found.append(_Candidate(own.network, own, *shared))
    return found


def _share(
    main: Address, interface: Interface, others: Sequence[Facts]
) -> tuple[tuple[Interface, ...], tuple[Address, ...]] | None:
    """Return the interfaces and addresses, main's first, of all nodes in main's subnet; None if not."""
    chosen, addresses = [interface], [main]
    for facts in others:
        match = next(
            (
                (candidate, item)
                for candidate in facts.interfaces
                for item in candidate.addresses
                if not candidate.loopback
                and item.network == main.network
                and item.ip not in [own.ip for own in addresses]
            ),
            None,
        )
        if match is None:
            return None
        chosen.append(match[0])
        addresses.append(match[1])
    return tuple(chosen), tuple(addresses)
