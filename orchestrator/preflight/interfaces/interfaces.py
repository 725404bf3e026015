"""Interfaces: which one carries the job, at what speed and MTU."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from orchestrator.plan.facts import Address, interface_name
from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.interfaces.pick import PICK
from orchestrator.preflight.judge import for_all, judge_each, most_common, to_findings
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    Level,
    NoAnswer,
    NodeContext,
    Probe,
    Status,
)
from orchestrator.preflight.verdict import Verdict, incomplete, passed, skip, warn
from orchestrator.util.quoting import command_line


@dataclass(frozen=True)
class Link:
    """One interface of a node, up or down; `node/probes/interfaces.py` says what is what."""

    name: str
    addresses: tuple[Address, ...]
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
        """Mb/s, where that means something: a link without hardware behind it says any number."""
        return self.speed if self.device and self.speed else None


Links = Mapping[str, Link]
"""The interfaces of a node by their names, in the order of the kernel's indices."""


def _parse(raw: Any) -> Links:
    links = (
        Link(
            name=interface_name(entry["name"]),
            addresses=tuple(ipaddress.ip_interface(str(item)) for item in entry["addresses"]),
            mtu=optional(int, entry["mtu"]),
            speed=optional(int, entry["speed"]),
            duplex=optional(text, entry["duplex"]),
            device=bool(entry["device"]),
            running=bool(entry["running"]),
            roce=tuple(str(name) for name in entry["roce"]),
            arp_ignore=int(entry["arp_ignore"]),
            arp_announce=int(entry["arp_announce"]),
        )
        for entry in raw
    )
    return {link.name: link for link in links}


INTERFACES = Probe("interfaces", _parse)


def chosen_links(context: Context) -> dict[str, Link | NoAnswer]:
    """Return the interface that each node's ranks meet on, by node."""
    found = context.of(INTERFACES)
    return {node.name: _chosen(node, found[node.name]) for node in context.nodes}


def _chosen(node: NodeContext, links: Links | NoAnswer) -> Link | NoAnswer:
    if isinstance(links, NoAnswer):
        return links
    interface = node.plan.interface
    if interface is None:
        return NoAnswer("it is not known which interface carries the job")
    return links.get(interface) or NoAnswer(f"{interface} is not in /sys/class/net")


def _known(context: Context) -> tuple[dict[str, Link], list[tuple[str, Verdict]]]:
    """Return the chosen interfaces, and the verdicts on nodes whose own is not known."""
    links = chosen_links(context)
    known = {name: link for name, link in links.items() if isinstance(link, Link)}
    unknown = [(n, incomplete(a.reason)) for n, a in links.items() if isinstance(a, NoAnswer)]
    return known, unknown


def _same_subnet(context: Context) -> list[Finding]:
    def verdict(node: NodeContext, links: Links) -> Verdict:
        pairs = list(_twins(links))
        if not pairs:
            return passed("each interface has a subnet of its own")
        first, second, subnet = pairs[0]
        names = dict.fromkeys(name for one, other, _ in pairs for name in (one, other))
        data = {"pairs": [list(pair) for pair in pairs]}
        if all(links[name].arp_ignore >= 1 and links[name].arp_announce >= 2 for name in names):
            message = f"{first} and {second} are both in {subnet}, each answering for itself alone"
            return passed(message, data=data)
        return warn(
            f"{first} and {second} are both in {subnet}: each answers for the other's address, and "
            "replies may leave by the other one",
            "leave one interface in each subnet, or bond them; as long as there are two, let each "
            "answer for its own address alone",
            tuple(
                command_line(["sysctl", "-w", f"{key}.arp_ignore=1", f"{key}.arp_announce=2"])
                for key in (
                    f"net.ipv4.conf.{name.replace('.', '/')}" for name in names
                )  # as sysctl(8) has it
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


def _speed(context: Context) -> list[Finding]:
    if context.on_one_machine:
        return for_all(context, skip("all nodes are one machine"))
    known, verdicts = _known(context)
    common = most_common({n: link.known_speed for n, link in known.items() if link.known_speed})
    for name, link in known.items():
        data = {"interface": link.name, "speed": link.known_speed, "duplex": link.duplex}
        if link.device and link.duplex == "half":
            message = f"{link.name} is half duplex: it cannot send while it receives"
            text = "let both ends negotiate, and see that the switch's port does not force its own"
            commands = (command_line(["ethtool", "-s", link.name, "autoneg", "on"]),)
            verdict = warn(message, text, commands, data)
        elif link.known_speed is None:
            verdict = skip(f"{link.name} does not tell its speed", data=data)
        elif link.known_speed != common:
            message = f"{link.name} runs at {link.known_speed} Mb/s, the others at {common} Mb/s"
            text = "every collective waits for the slowest link: look at cable, port and switch"
            verdict = warn(message, text, data=data)
        else:
            verdict = passed(f"{link.name} at {link.known_speed} Mb/s", data=data)
        verdicts.append((name, verdict))
    return to_findings(verdicts)


def _mtu(context: Context) -> list[Finding]:
    if context.on_one_machine:
        return for_all(context, skip("all nodes are one machine"))
    known, verdicts = _known(context)
    common = most_common({name: link.mtu for name, link in known.items() if link.mtu})
    # With RDMA there is no TCP to agree on a size that both ends can take.
    roce = any(link.roce for link in known.values())
    for name, link in known.items():
        data = {"interface": link.name, "mtu": link.mtu, "roce": list(link.roce)}
        if link.mtu is None:
            verdict = incomplete(f"{link.name} does not tell its MTU")
        elif link.mtu != common:
            verdict = Verdict(
                Status.FAIL if roce else Status.WARN,
                f"{link.name} has MTU {link.mtu}, the others {common}"
                + (", and RoCE goes by it: large messages will not arrive" if roce else ""),
                "give all the same; if net.mtupath then finds that so much does not get through, "
                "the smaller one",
                (command_line(["ip", "link", "set", "dev", link.name, "mtu", str(common)]),),
                data,
            )
        else:
            verdict = passed(f"{link.name} has MTU {link.mtu}", data=data)
        verdicts.append((name, verdict))
    return to_findings(verdicts)


CHECKS = (
    PICK,
    Check(
        id="nic.samesubnet",
        group=Group.INTERFACE,
        level=Level.FULL,
        meaning="no node has two interfaces in one subnet",
        page="The addresses of every running interface. Two interfaces of one node in one IPv4 subnet "
        "warn: Linux answers ARP for either address on both, and sends replies by whichever routing "
        "prefers, so that half of a node's bandwidth lies idle, or replies are dropped as spoofed. One "
        "interface in each subnet, or a bond of the two, mends it; the `sysctl` lines make each "
        "interface answer for its own address alone, and pass.",
        verdict=_same_subnet,
        probes=(INTERFACES,),
    ),
    Check(
        id="nic.speed",
        group=Group.INTERFACE,
        level=Level.FULL,
        meaning="the links of all nodes are equally fast, and full duplex",
        page="Speed and duplex of the interface that carries the job, in `/sys/class/net/IF/`. A speed "
        "unlike the others' warns, for every collective waits for the slowest link; so does half duplex. "
        "Virtual interfaces, which have no `device` there or say -1, are skipped: what they say means "
        "nothing. `net.bandwidth` measures them all the same.",
        verdict=_speed,
        probes=(INTERFACES,),
    ),
    Check(
        id="nic.mtu",
        group=Group.INTERFACE,
        level=Level.FULL,
        meaning="the MTU is the same on all nodes",
        page="The MTU of the interface that carries the job. Where it differs, TCP gets along, with a "
        "warning; where RoCE devices send by these interfaces it fails, for RDMA does not negotiate "
        "sizes. The nodes unlike the others get the others' MTU: `ip link set dev IF mtu N`. Whether the "
        "network between them carries that is what `net.mtupath` tries.",
        verdict=_mtu,
        probes=(INTERFACES,),
    ),
)
