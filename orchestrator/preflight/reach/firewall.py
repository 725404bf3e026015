"""The firewall that a node runs, and the commands that open in it what a job needs.

A job needs the main port and the node's whole range of ephemeral ports: NCCL and gloo listen on ports
that the kernel chooses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.preflight.answers import reader, text
from orchestrator.preflight.model import NodeContext, Probe, Remedy
from orchestrator.preflight.reach.openings import Direction, Opening
from orchestrator.util.answers import optional

# The hooks that incoming and outgoing packets pass.
_HOOKS = {
    "input": ("ingress", "prerouting", "input"),
    "output": ("output", "postrouting", "egress"),
}
_TOOLS = ("nft", "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy")
_FAMILIES = ("ip", "ip6", "inet", "netdev")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # accepted by every tool
_PERSISTENCE = {
    "ufw": "ufw keeps this after a reboot",
    "firewalld": "firewalld keeps this after a reboot",
    "iptables": "lost at a reboot unless saved, for example by `netfilter-persistent save`",
    "nft": "lost at a reboot unless it is also added to /etc/nftables.conf",
}


@dataclass(frozen=True)
class Chain:
    """A base chain: one that the kernel itself passes packets to.

    `tool` is the command that manages it: nft, iptables, ip6tables, or one of the latter with -legacy.
    `blocks` is whether it may drop or reject the job's packets. `plain` is whether nft's own syntax can
    express the names of its table and itself; nft's JSON can express any.
    """

    tool: str
    family: str
    table: str
    name: str
    hook: str
    priority: int
    blocks: bool
    plain: bool

    @classmethod
    def parse(cls, raw: Any) -> Chain:
        """Return the chain that a node reports; its names become part of commands to paste there."""
        tool, family, table, name = (str(raw[key]) for key in ("tool", "family", "table", "name"))
        plain = all(map(_PLAIN_NAME.fullmatch, (table, name)))
        if tool not in _TOOLS or family not in _FAMILIES or not (tool == "nft" or plain):
            raise ValueError(f"an unknown chain: {tool!r:.20} {family!r:.20}")
        return cls(
            tool=tool,
            family=family,
            table=table,
            name=name,
            hook=str(raw["hook"]),
            priority=int(raw["priority"]),
            blocks=bool(raw["blocks"]),
            plain=bool(raw["plain"]) and plain,
        )


@dataclass(frozen=True)
class Firewall:
    """What filters packets on a node.

    `manager` is the program that manages the rules, if there is one; `zone` is firewalld's zone of the
    job's interface. `chains` are those of the kernel; `unreadable` is why some or all are not known.
    """

    manager: Literal["ufw", "firewalld"] | None
    zone: str | None
    chains: tuple[Chain, ...]
    unreadable: str | None

    @classmethod
    def parse(cls, raw: Any) -> Firewall:
        """Return what a node answered."""
        manager = raw["manager"]
        if manager not in ("ufw", "firewalld", None):
            raise ValueError(f"an unknown firewall: {manager!r:.40}")
        return cls(
            manager=manager,
            zone=optional(text, raw["zone"]),
            chains=tuple(Chain.parse(chain) for chain in raw["chains"]),
            unreadable=optional(text, raw["unreadable"]),
        )

    @property
    def name(self) -> str:
        """Its usual name: ufw, firewalld, nftables, iptables; `firewall` for none or unknown."""
        if self.manager is not None:
            return self.manager
        tools = {chain.tool for chain in self.chains if chain.blocks}
        if not tools:
            return "firewall"
        return "nftables" if "nft" in tools else "iptables"


def _arguments(node: NodeContext) -> dict[str, Any]:
    return {
        "interface": node.plan.interface,
        "address": node.plan.address,
        "subnet": node.context.plan.subnet,
        "main_port": node.context.plan.main_port,
    }


FIREWALL: Probe[Firewall] = Probe("firewall", Firewall.parse, _arguments)
PORT_RANGE: Probe[tuple[int, int]] = Probe("firewall.port_range", reader(tuple[int, int]))
"""The ephemeral ports of a node, first and last."""

DEFAULT_PORT_RANGE = (32768, 60999)
"""The ephemeral ports of Linux by default."""


def may_block(firewall: Firewall, direction: Direction) -> bool | None:
    """Return whether the node's own rules may stop the job's incoming (outgoing) packets.

    None if the rules cannot be read.
    """
    if _blocking(firewall, direction):
        return True
    return None if firewall.unreadable else False


def open_ports(firewall: Firewall, opening: Opening) -> Remedy | None:
    """Return how to let `opening` through the node's own firewall.

    None if the node's rules stop nothing: then another firewall does (`open_elsewhere`).
    """
    unseen_family = "ip6" if opening.version == 4 else "ip"
    chains = [
        chain for chain in _blocking(firewall, opening.direction) if chain.family != unseen_family
    ]
    managed = [chain for chain in chains if _is_managed(firewall.manager, chain)]
    foreign = [chain for chain in chains if chain not in managed]
    commands: list[str] = []
    tools: list[str] = []
    if firewall.manager is not None and (managed or (firewall.unreadable and not foreign)):
        commands += _open_managed(firewall, managed, opening)
        tools.append(firewall.manager)
    for chain in foreign:
        if chain.tool == "nft":
            rule = opening.nft if chain.plain else opening.nft_json
            commands += rule(chain.family, chain.table, chain.name)
        else:
            commands += opening.iptables(chain.tool, chain.table, chain.name)
        tools.append("nft" if chain.tool == "nft" else "iptables")
    way = (
        f"from {opening.subnet} in" if opening.direction == "input" else f"to {opening.subnet} out"
    )
    text = f"let TCP {way}, to ports {opening.listed}"
    if commands:
        persistence = "; ".join(_PERSISTENCE[tool] for tool in dict.fromkeys(tools))
        return Remedy(f"{text} ({persistence})", tuple(commands))
    if firewall.unreadable:
        return Remedy(
            f"{text}: in the node's own firewall (orch could not read it: {firewall.unreadable}), and "
            "in the cloud's security group"
        )
    return None


def open_elsewhere(opening: Opening) -> Remedy:
    """Return what the user has to allow, if orch cannot tell in which firewall."""
    return Remedy(
        f"let TCP ports {opening.listed} through between the nodes ({opening.subnet}): in a cloud, "
        "their security group must allow this from its own members; else check the firewalls between them"
    )


def _open_managed(firewall: Firewall, chains: Sequence[Chain], opening: Opening) -> list[str]:
    if firewall.manager == "ufw":
        return opening.ufw()
    if opening.direction == "input":
        return opening.firewalld_zone(firewall.zone)
    if chains and all(chain.tool != "nft" for chain in chains):
        return opening.firewalld_direct()
    return opening.firewalld_policy()


def _blocking(firewall: Firewall, direction: Direction) -> list[Chain]:
    return [chain for chain in firewall.chains if chain.blocks and chain.hook in _HOOKS[direction]]


def _is_managed(manager: str | None, chain: Chain) -> bool:
    """Return whether the manager would undo changes that others make to this chain."""
    if manager == "firewalld":
        return chain.tool != "nft" or chain.table.startswith("firewalld")
    # ufw uses iptables, whose chains nft shows under the same names in capitals.
    return manager == "ufw" and (chain.tool != "nft" or chain.name.isupper())
