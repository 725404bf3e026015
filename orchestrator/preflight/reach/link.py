"""A node's interface on the network of the job: whether it is up, and its route there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from orchestrator.preflight.answers import reader
from orchestrator.preflight.model import Context, NodeContext, Probe
from orchestrator.util.answers import optional
from orchestrator.util.quoting import command_line


@dataclass(frozen=True)
class Link:
    """Whether an interface is up, has a carrier (None: unknown), and answers ARP."""

    up: bool
    carrier: bool | None
    arp: bool


LINK: Probe[Link | None] = Probe(
    "interfaces.link",
    partial(optional, reader(Link)),
    lambda node: {"interface": node.plan.interface},
)
"""None if there is no such interface."""


def bring_up(node: NodeContext, link: Link | None) -> tuple[str, ...]:
    """Return the commands that let others find the node's interface; none if they can."""
    if link is None or node.plan.interface is None:
        return ()
    settings = [] if link.up else [["up"]]
    settings += [] if link.arp else [["arp", "on"]]
    command = ["ip", "link", "set", "dev", node.plan.interface]
    return tuple(command_line([*command, *words]) for words in settings)


def add_route(node: NodeContext) -> tuple[str, ...]:
    """Return the command that routes the shared subnet by the node's own interface there."""
    plan, subnet = node.plan, node.context.plan.subnet
    if plan.interface is None or plan.address is None or subnet is None:
        return ()
    words = ["ip", "route", "add", subnet, "dev", plan.interface, "src", plan.address]
    return (command_line(words),)


def subnet_of(context: Context) -> str | None:
    """Return the network of the job: the shared subnet, else the smallest that has all its nodes."""
    if context.plan.subnet is not None:
        return context.plan.subnet
    return _enclosing(node.address for node in context.plan.nodes if node.address is not None)


def _enclosing(addresses: Iterable[str]) -> str | None:
    try:
        found = [ipaddress.ip_address(address) for address in addresses]
    except ValueError:
        return None
    if not found or len({address.version for address in found}) > 1:
        return None
    network = ipaddress.ip_network(found[0])
    while not all(address in network for address in found):
        network = network.supernet()
    return str(network)
