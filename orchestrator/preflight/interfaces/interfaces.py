"""Interfaces: which one carries the job, at what speed and MTU."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

from orchestrator.plan.facts import Address, interface_name
from orchestrator.preflight.answers import reader
from orchestrator.preflight.interfaces.pick import check_pick
from orchestrator.preflight.judge import between_machines, judge_each, most_common, to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NoAnswer,
    NodeContext,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, incomplete, passed, skip, warn
from orchestrator.util.quoting import command_line


def _address(raw: Any) -> Address:
    return ipaddress.ip_interface(str(raw))


@dataclass(frozen=True)
class Link:
    """One interface of a node, up or down (`node/probes/interfaces.py` explains the fields)."""

    name: Annotated[str, interface_name]
    addresses: tuple[Annotated[Address, _address], ...]
    mtu: int | None
    speed: int | None
    duplex: str | None
    device: bool
    running: bool
    roce: tuple[str, ...]
    arp_ignore: int
    arp_announce: int

    @property
    def known_speed(self) -> int | None:
        """Mb/s; None for a link without hardware, which reports any number."""
        return self.speed if self.device and self.speed else None


Links = Mapping[str, Link]
"""The interfaces of a node by their names, in the order of the kernel's indices."""

_read_links = reader(tuple[Link, ...])
INTERFACES: Probe[Links] = Probe(
    "interfaces", lambda raw: {link.name: link for link in _read_links(raw)}
)


def chosen_links(context: Context) -> dict[str, Link | NoAnswer]:
    """Return the interface that carries the job on each node, by node."""
    found = context.of(INTERFACES)
    return {node.name: _chosen(node, found[node.name]) for node in context.nodes}


def _chosen(node: NodeContext, links: Links | NoAnswer) -> Link | NoAnswer:
    if isinstance(links, NoAnswer):
        return links
    interface = node.plan.interface
    if interface is None:
        return NoAnswer("it is not known which interface carries the job")
    return links.get(interface) or NoAnswer(f"{interface} is not in /sys/class/net")


def _judge_chosen(
    context: Context,
    value: Callable[[Link], int | None],
    verdict: Callable[[Link, int | None], Verdict],
) -> list[Finding]:
    """Return the findings of `verdict` on each node's chosen interface and the most common `value`."""
    links = chosen_links(context)
    values = {n: value(link) for n, link in links.items() if not isinstance(link, NoAnswer)}
    common = most_common({name: each for name, each in values.items() if each})
    return to_findings(
        (name, incomplete(link.reason) if isinstance(link, NoAnswer) else verdict(link, common))
        for name, link in links.items()
    )


@check("nic.samesubnet", Group.INTERFACE, probes=(INTERFACES,))
def check_same_subnet(context: Context) -> list[Finding]:
    """No node has two interfaces in one subnet.

    The addresses of every running interface. Two interfaces of one node in one IPv4 subnet warn: Linux
    answers ARP for either address on both, and sends replies by the one that routing prefers. Half of the
    node's bandwidth stays unused, or replies are dropped as spoofed. Keep one interface in each subnet, or
    bond the two; the `sysctl` commands make each interface answer for its own address only, which passes.
    """

    def verdict(node: NodeContext, links: Links) -> Verdict:
        pairs = list(_twins(links))
        if not pairs:
            return passed("each interface has a subnet of its own")
        first, second, subnet = pairs[0]
        names = dict.fromkeys(name for one, other, _ in pairs for name in (one, other))
        data = {"pairs": [list(pair) for pair in pairs]}
        if all(links[name].arp_ignore >= 1 and links[name].arp_announce >= 2 for name in names):
            message = (
                f"{first} and {second} are both in {subnet}, but each answers ARP only for itself"
            )
            return passed(message, data=data)
        keys = (f"net.ipv4.conf.{name.replace('.', '/')}" for name in names)  # as in sysctl(8)
        return warn(
            f"{first} and {second} are both in {subnet}: each answers ARP for the other's address, and "
            "replies may leave by the other one",
            "keep one interface in each subnet, or bond them; until then, let each answer only for its "
            "own address",
            tuple(
                command_line(["sysctl", "-w", f"{key}.arp_ignore=1", f"{key}.arp_announce=2"])
                for key in keys
            ),
            data,
        )

    return judge_each(context, INTERFACES, verdict)


def _twins(links: Links) -> Iterator[tuple[str, str, str]]:
    """Yield two interfaces that have addresses in one IPv4 subnet, and the subnet."""
    running = [link for link in links.values() if link.running and link.name != "lo"]
    for one, other in combinations(running, 2):
        shared = {a.network for a in one.addresses} & {a.network for a in other.addresses}
        for subnet in sorted(str(net) for net in shared if net.version == 4 and net.prefixlen < 32):
            yield one.name, other.name, subnet


@check("nic.speed", Group.INTERFACE, probes=(INTERFACES,))
@between_machines
def check_speed(context: Context) -> list[Finding]:
    """The links of all nodes are equally fast, and full duplex.

    Speed and duplex of the interface that carries the job, in `/sys/class/net/IF/`. A speed other than
    most nodes' warns, as every collective waits for the slowest link; so does half duplex. Virtual
    interfaces (without a `device` there, or with speed -1) are skipped, as their speed means nothing;
    `net.bandwidth` measures them too.
    """

    def verdict(link: Link, common: int | None) -> Verdict:
        data = {"interface": link.name, "speed": link.known_speed, "duplex": link.duplex}
        if link.device and link.duplex == "half":
            return warn(
                f"{link.name} is half duplex: it cannot send and receive at the same time",
                "let both ends negotiate, and check that the switch port does not force half duplex",
                (command_line(["ethtool", "-s", link.name, "autoneg", "on"]),),
                data,
            )
        if link.known_speed is None:
            return skip(f"{link.name} does not report its speed", data=data)
        if link.known_speed != common:
            message = f"{link.name} runs at {link.known_speed} Mb/s, the others at {common} Mb/s"
            text = "every collective waits for the slowest link: check its cable, port and switch"
            return warn(message, text, data=data)
        return passed(f"{link.name} at {link.known_speed} Mb/s", data=data)

    return _judge_chosen(context, lambda link: link.known_speed, verdict)


@check("nic.mtu", Group.INTERFACE, probes=(INTERFACES,))
@between_machines
def check_mtu(context: Context) -> list[Finding]:
    """The MTU is the same on all nodes.

    The MTU of the interface that carries the job. A difference warns, as TCP works with it; it fails if
    RoCE devices use these interfaces, as RDMA does not negotiate sizes. The remedy sets the MTU that most
    nodes have: `ip link set dev IF mtu N`. `net.mtupath` tries whether the network carries it.
    """
    links = chosen_links(context).values()
    # RDMA does not negotiate a size that both ends can take, as TCP does.
    roce = any(isinstance(link, Link) and link.roce for link in links)

    def verdict(link: Link, common: int | None) -> Verdict:
        data = {"interface": link.name, "mtu": link.mtu, "roce": list(link.roce)}
        if link.mtu is None:
            return incomplete(f"{link.name} does not report its MTU")
        if link.mtu == common:
            return passed(f"{link.name} has MTU {link.mtu}", data=data)
        return Verdict(
            Status.FAIL if roce else Status.WARN,
            f"{link.name} has MTU {link.mtu}, the others {common}"
            + (", and RoCE uses it: large messages will not arrive" if roce else ""),
            "set the same MTU on all; if net.mtupath then finds that it does not get through, the "
            "smaller one",
            (command_line(["ip", "link", "set", "dev", link.name, "mtu", str(common)]),),
            data,
        )

    return _judge_chosen(context, lambda link: link.mtu, verdict)


CHECKS = (check_pick, check_same_subnet, check_speed, check_mtu)
