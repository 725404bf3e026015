"""The kernel's table of neighbours: whether it has room for the nodes in one subnet."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import judge_each
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    NodeContext,
    Probe,
    Remedy,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn

DEFAULT_ROOM = 1024
"""Linux's own gc_thresh3."""

_FILE = "/etc/sysctl.d/90-neighbours.conf"


@dataclass(frozen=True)
class Neighbours:
    """The table of one address family: `room` is gc_thresh3, `soft` is gc_thresh2.

    `entries` are those in use, `fulls` how often there was no room since the boot. None is what this
    network namespace does not show, as in a container.
    """

    soft: int | None
    room: int | None
    entries: int | None
    fulls: int | None


def _arguments(node: NodeContext) -> dict[str, int]:
    return {"version": _version(node)}


NEIGHBOURS: Probe[Neighbours] = Probe("neighbours", reader(Neighbours), _arguments)


def widen(nodes: int, version: int = 4) -> Remedy:
    """Return how to make room for this many nodes in one subnet, now and after a reboot."""
    room = max(4096, 1 << (2 * nodes).bit_length())
    sizes = ((1, room // 4), (2, room // 2), (3, room))
    lines = [f"net.ipv{version}.neigh.default.gc_thresh{level}={size}" for level, size in sizes]
    return Remedy(
        f"make room for more neighbours (kept in {_FILE}; in a container, on its host)",
        (f"printf '%s\\n' {' '.join(lines)} > {_FILE}", f"sysctl -p {_FILE}"),
    )


@check("net.neighbours", Group.REACHABILITY, Level.QUICK, probes=(NEIGHBOURS,))
def check_neighbours(context: Context) -> list[Finding]:
    """The kernel's table of neighbours has room for all nodes in one subnet.

    Every node that another one talks to in its own subnet takes an entry. With `gc_thresh3` of them (1024
    by default; the network namespaces of a machine share it) the kernel sends nothing to further nodes:
    connections wait as if packets were dropped, and the kernel's log has `neighbor table overflow!`.

    Fails if there are more nodes in the subnet than entries; warns if there are not enough with those in
    use, or if there are more nodes than `gc_thresh2`, above which the kernel evicts entries after 5 s. The
    remedy raises the limits, now and in /etc/sysctl.d. A container does not see the limits of its host.
    """
    peers = {node.name: _peers(node) for node in context.nodes}

    def verdict(node: NodeContext, found: Neighbours) -> Verdict:
        wanted, room = peers[node.name], found.room
        data = {"peers": wanted, "room": room, "entries": found.entries, "fulls": found.fulls}
        if room is None:
            if wanted < DEFAULT_ROOM // 2:
                return skip(
                    "does not show the size of its table of neighbours, as containers do not"
                )
            return incomplete(
                f"a container does not show whether its host has room for {wanted} neighbours (gc_thresh3)"
            )
        remedy = widen(len(context.names), _version(node))
        limits = f"{room} neighbours (gc_thresh3)"
        if wanted >= room:
            return fail(
                f"has room for {limits}, and {wanted} other nodes in its subnet: it will not reach all",
                remedy.text,
                remedy.commands,
                data,
            )
        used = found.entries or 0
        if wanted + used > room and wanted > room // 4:
            return warn(
                f"has room for {limits}, of which up to {used} are in use, and {wanted} other nodes in its "
                "subnet: it may not reach all",
                remedy.text,
                remedy.commands,
                data,
            )
        if found.soft is not None and wanted > found.soft:
            return warn(
                f"keeps {found.soft} neighbours for long (gc_thresh2), and has {wanted} other nodes in its "
                "subnet: it will look for some again and again",
                remedy.text,
                remedy.commands,
                data,
            )
        return passed(f"has room for {limits}", data=data)

    return judge_each(context, NEIGHBOURS, verdict)


def _peers(node: NodeContext) -> int:
    """Return how many other nodes have an address in the node's own subnet."""
    others = len(node.context.names) - 1
    if node.context.plan.subnet is not None or node.plan.address is None:
        return others
    own = ipaddress.ip_address(node.plan.address)
    networks = [a.network for i in node.facts.interfaces for a in i.addresses if a.ip == own]
    addresses = (
        ipaddress.ip_address(each.address) for each in node.context.plan.nodes if each.address
    )
    return sum(any(address in network for network in networks) for address in addresses) - bool(
        networks
    )


def _version(node: NodeContext) -> int:
    address = node.plan.address
    return 4 if address is None else ipaddress.ip_address(address).version


CHECKS = (check_neighbours,)
