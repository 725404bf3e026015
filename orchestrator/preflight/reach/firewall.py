"""The firewall that a node really runs, and the lines that open in it what a job needs.

Which ports those are: the main port, and the node's whole range of ephemeral ports, for NCCL and gloo
listen on whatever port the kernel gives them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.model import NodeContext, Probe, Remedy
from orchestrator.preflight.reach.openings import Direction, Opening

# The hooks that a packet to this node passes, and one that it sends.
_HOOKS = {
    "input": ("ingress", "prerouting", "input"),
    "output": ("output", "postrouting", "egress"),
}
_TOOLS = ("nft", "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy")
_FAMILIES = ("ip", "ip6", "inet", "netdev")
_ORDINARY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # a name that every tool takes
_LASTS = {
    "ufw": "ufw keeps this over a reboot",
    "firewalld": "this holds over a reboot",
    "iptables": "a reboot undoes it, unless `netfilter-persistent save` or the like keeps it",
    "nft": "a reboot undoes it, unless it is put into /etc/nftables.conf as well",
}


@dataclass(frozen=True)
class Chain:
    """A chain that the kernel itself hands packets to.

    `tool` is the command that manages it: nft, iptables, ip6tables, or one of the latter with -legacy.
    `blocks` is whether it may drop or reject what the job sends. `plain` is whether nft's own language
    can say the names of its table and itself; its JSON can say any.
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
        """Return the chain that a node tells of: its words will stand in lines to be pasted there."""
        tool, family, table, name = (str(raw[key]) for key in ("tool", "family", "table", "name"))
        ordinary = _ORDINARY.fullmatch(table) is not None and _ORDINARY.fullmatch(name) is not None
        if tool not in _TOOLS or family not in _FAMILIES or not (tool == "nft" or ordinary):
            raise ValueError(f"an unknown chain: {tool!r:.20} {family!r:.20}")
        return cls(
            tool=tool,
            family=family,
            table=table,
            name=name,
            hook=str(raw["hook"]),
            priority=int(raw["priority"]),
            blocks=bool(raw["blocks"]),
            plain=bool(raw["plain"]) and ordinary,
        )


@dataclass(frozen=True)
class Firewall:
    """What filters packets on a node.

    `manager` is what its administrator works with, if it is not the rules themselves; `zone` is
    firewalld's for the job's interface. `chains` are those of the kernel; `unreadable` says why they
    are not known, or not all of them.
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
        """What a person calls it: ufw, firewalld, nftables, iptables; `firewall` for none or unknown."""
        if self.manager is not None:
            return self.manager
        tools = {chain.tool for chain in self.chains if chain.blocks}
        if not tools:
            return "firewall"
        return "nftables" if "nft" in tools else "iptables"


def _about_the_job(node: NodeContext) -> dict[str, Any]:
    return {
        "interface": node.plan.interface,
        "address": node.plan.address,
        "subnet": node.context.plan.subnet,
        "main_port": node.context.plan.main_port,
    }


def _parse_range(raw: Any) -> tuple[int, int]:
    low, high = raw
    return int(low), int(high)


FIREWALL: Probe[Firewall] = Probe("firewall", Firewall.parse, _about_the_job)
PORT_RANGE: Probe[tuple[int, int]] = Probe("firewall.port_range", _parse_range)
"""The ephemeral ports of a node, first and last."""


def blames(firewall: Firewall, direction: Direction) -> bool | None:
    """Return whether the node's own rules may stop the job's packets that come in (or go out).

    None where the rules cannot be read.
    """
    if _blocking(firewall, direction):
        return True
    return None if firewall.unreadable else False


def open_inbound(
    firewall: Firewall, subnet: str, main_port: int | None, port_range: tuple[int, int]
) -> Remedy | None:
    """Return how to let the job's connections from `subnet` in, on these ports of the node.

    None where the node's rules stop nothing: what does is elsewhere (`open_elsewhere`). Raises
    ValueError when `subnet` is no network in CIDR notation.
    """
    return _open(firewall, Opening.make("input", subnet, main_port, port_range))


def open_outbound(
    firewall: Firewall, subnet: str, main_port: int | None, port_range: tuple[int, int]
) -> Remedy | None:
    """Return how to let the job's connections to these ports in `subnet` out; else as `open_inbound`."""
    return _open(firewall, Opening.make("output", subnet, main_port, port_range))


def open_elsewhere(subnet: str, main_port: int | None, port_range: tuple[int, int]) -> Remedy:
    """Return what is to be opened by a person, where orch cannot say in which firewall."""
    ports = Opening.make("input", subnet, main_port, port_range).listed
    return Remedy(
        f"let TCP ports {ports} through between the nodes ({subnet}): in the cloud, their security "
        "group must allow this from its own members; else see the firewalls between them"
    )


def _open(firewall: Firewall, opening: Opening) -> Remedy | None:
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
            way = opening.nft if chain.plain else opening.nft_json
            commands += way(chain.family, chain.table, chain.name)
        else:
            commands += opening.iptables(chain.tool, chain.table, chain.name)
        tools.append("nft" if chain.tool == "nft" else "iptables")
    if opening.direction == "input":
        what = f"let TCP from {opening.subnet} in, to ports {opening.listed}"
    else:
        what = f"let TCP to {opening.subnet} out, to ports {opening.listed}"
    if commands:
        lasts = "; ".join(_LASTS[tool] for tool in dict.fromkeys(tools))
        return Remedy(f"{what} ({lasts})", tuple(commands))
    if firewall.unreadable:
        return Remedy(
            f"{what}: in the node's own firewall (orch could not see it: {firewall.unreadable}), and in "
            "the cloud's security group"
        )
    return None


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
    """Return whether the manager would undo what other hands change in this chain."""
    if manager == "firewalld":
        return chain.tool != "nft" or chain.table.startswith("firewalld")
    # ufw works with iptables, whose chains bear its names where nft alone can be asked.
    return manager == "ufw" and (chain.tool != "nft" or chain.name.isupper())
