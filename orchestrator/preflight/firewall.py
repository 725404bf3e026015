"""The firewall that a node really runs, and the lines that open in it what a job needs.

Which ports those are: the main port, and the node's whole range of ephemeral ports, for NCCL and gloo
listen on whatever port the kernel gives them.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.preflight.model import Probe, Remedy
from orchestrator.preflight.scene import Subject
from orchestrator.quoting import command_line

Direction = Literal["input", "output"]

# The hooks that a packet to this node passes, and one that it sends.
_HOOKS = {
    "input": ("ingress", "prerouting", "input"),
    "output": ("output", "postrouting", "egress"),
}
_POLICY = "orch-out"  # the name of the policy that a remedy makes in firewalld
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
    policy: str
    blocks: bool
    plain: bool

    @classmethod
    def parse(cls, raw: Any) -> Chain:
        return cls(
            tool=str(raw["tool"]),
            family=str(raw["family"]),
            table=str(raw["table"]),
            name=str(raw["name"]),
            hook=str(raw["hook"]),
            priority=int(raw["priority"]),
            policy=str(raw["policy"]),
            blocks=bool(raw["blocks"]),
            plain=bool(raw["plain"]),
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
        manager, zone, why = raw["manager"], raw["zone"], raw["unreadable"]
        if manager not in ("ufw", "firewalld", None):
            raise ValueError(f"an unknown firewall: {manager!r:.40}")
        chains = tuple(Chain.parse(chain) for chain in raw["chains"])
        return cls(
            manager, None if zone is None else str(zone), chains, None if why is None else str(why)
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


def _about_the_job(subject: Subject) -> dict[str, Any]:
    return {
        "interface": subject.plan.interface,
        "address": subject.plan.address,
        "subnet": subject.scene.plan.subnet,
        "main_port": subject.scene.plan.main_port,
    }


def _parse_range(raw: Any) -> tuple[int, int]:
    low, high = raw
    return int(low), int(high)


FIREWALL: Probe[Firewall] = Probe("firewall.firewall", Firewall.parse, _about_the_job)
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
    return _open(firewall, "input", subnet, merge(main_port, port_range))


def open_outbound(
    firewall: Firewall, subnet: str, main_port: int | None, port_range: tuple[int, int]
) -> Remedy | None:
    """Return how to let the job's connections to these ports in `subnet` out; else as `open_inbound`."""
    return _open(firewall, "output", subnet, merge(main_port, port_range))


def open_elsewhere(subnet: str, main_port: int | None, port_range: tuple[int, int]) -> Remedy:
    """Return what is to be opened by a person, where orch cannot say in which firewall."""
    ports = merge(main_port, port_range)
    return Remedy(
        f"let TCP to {_in_words(ports)} through between the nodes ({subnet}): in the cloud, their "
        "security group must allow it from its own members; else see the firewalls between them"
    )


def merge(main_port: int | None, port_range: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return the ports to be opened as ranges that do not overlap: nft refuses a set whose do."""
    low, high = port_range
    if main_port is None or low <= main_port <= high:
        return (port_range,)
    return ((main_port, main_port), port_range)


_Ports = Sequence[tuple[int, int]]


def _open(firewall: Firewall, direction: Direction, subnet: str, ports: _Ports) -> Remedy | None:
    version = ipaddress.ip_network(subnet, strict=False).version
    chains = [chain for chain in _blocking(firewall, direction) if _sees(chain, version)]
    managed = [chain for chain in chains if _is_managed(firewall.manager, chain)]
    foreign = [chain for chain in chains if chain not in managed]
    commands: list[str] = []
    tools: list[str] = []
    if firewall.manager is not None and (managed or (firewall.unreadable and not foreign)):
        if firewall.manager == "ufw":
            commands.append(_ufw(direction, subnet, ports))
        elif direction == "input":
            commands += _firewalld_zone(firewall.zone, subnet, version, ports)
        elif managed and all(chain.tool != "nft" for chain in managed):
            commands += _firewalld_direct(subnet, version, ports)
        else:
            commands += _firewalld_policy(subnet, version, ports)
        tools.append(firewall.manager)
    for chain in foreign:
        commands.append(_insert(chain, direction, subnet, version, ports))
        tools.append("nft" if chain.tool == "nft" else "iptables")
    way = f"TCP {'from' if direction == 'input' else 'to'} {subnet}"
    what = f"let {way} {'in' if direction == 'input' else 'out'}, to {_in_words(ports)}"
    if commands:
        lasts = "; ".join(_LASTS[tool] for tool in dict.fromkeys(tools))
        return Remedy(f"{what} ({lasts})", tuple(commands))
    if firewall.unreadable:
        return Remedy(
            f"{what}, in the node's firewall (its rules were not seen: {firewall.unreadable}) "
            "or the cloud's security group"
        )
    return None


def _blocking(firewall: Firewall, direction: Direction) -> list[Chain]:
    return [chain for chain in firewall.chains if chain.blocks and chain.hook in _HOOKS[direction]]


def _sees(chain: Chain, version: int) -> bool:
    return chain.family != ("ip6" if version == 4 else "ip")


def _is_managed(manager: str | None, chain: Chain) -> bool:
    """Whether the manager would undo what other hands change in this chain."""
    if manager == "firewalld":
        return chain.tool != "nft" or chain.table.startswith("firewalld")
    # ufw works with iptables; where that is missing to the eye, its chains still bear iptables' names.
    return manager == "ufw" and (chain.tool != "nft" or chain.name.isupper())


def _ufw(direction: Direction, subnet: str, ports: _Ports) -> str:
    # At most 15 ports, a range counting as two (ufw(8)): these are three.
    way = ["from", subnet, "to", "any"] if direction == "input" else ["out", "to", subnet]
    return command_line(["ufw", "allow", *way, "port", _listed(ports, ":", ","), "proto", "tcp"])


def _firewalld_zone(zone: str | None, subnet: str, version: int, ports: _Ports) -> list[str]:
    """Return the lines for what comes in: that is filtered by the zone of the interface."""
    where = [] if zone is None else [f"--zone={zone}"]
    return _firewalld([*where, rule] for rule in _rich_rules("source", subnet, version, ports))


def _firewalld_policy(subnet: str, version: int, ports: _Ports) -> list[str]:
    """Return the lines for what goes out: that has no zone, but policies (firewalld 0.9 and later)."""
    policy = f"--policy={_POLICY}"
    return _firewalld(
        [
            [f"--new-policy={_POLICY}"],
            [policy, "--add-ingress-zone=HOST"],
            [policy, "--add-egress-zone=ANY"],
            [policy, "--set-priority=-32000"],  # before any other
            *([policy, rule] for rule in _rich_rules("destination", subnet, version, ports)),
        ]
    )


def _firewalld_direct(subnet: str, version: int, ports: _Ports) -> list[str]:
    """Return the lines for what goes out where firewalld works with iptables, and has no policies."""
    rule = [f"ipv{version}", "filter", "OUTPUT", "0", "-d", subnet, "-p", "tcp"]
    listed = ["-m", "multiport", "--dports", _listed(ports, ":", ",")]
    return _firewalld([["--direct", "--add-rule", *rule, *listed, "-j", "ACCEPT"]])


def _firewalld(changes: Iterable[Sequence[str]]) -> list[str]:
    lines = [["firewall-cmd", "--permanent", *change] for change in changes]
    return [command_line(line) for line in [*lines, ["firewall-cmd", "--reload"]]]


def _rich_rules(end: str, subnet: str, version: int, ports: _Ports) -> list[str]:
    rule = f'rule family="ipv{version}" {end} address="{subnet}"'
    return [
        f'--add-rich-rule={rule} port port="{_listed([port], "-", ",")}" protocol="tcp" accept'
        for port in ports
    ]


def _insert(chain: Chain, direction: Direction, subnet: str, version: int, ports: _Ports) -> str:
    """Return the line that lets the job through before any other rule of this chain."""
    if chain.tool != "nft":
        table = [] if chain.table == "filter" else ["-t", chain.table]
        end = ["-s" if direction == "input" else "-d", subnet]
        listed = ["-m", "multiport", "--dports", _listed(ports, ":", ",")]
        return command_line(
            [chain.tool, *table, "-I", chain.name, *end, "-p", "tcp", *listed, "-j", "ACCEPT"]
        )
    protocol, end_name = "ip" if version == 4 else "ip6", _end(direction)
    if chain.plain:
        place = [chain.family, chain.table, chain.name]
        listed_ports = "{ " + _listed(ports, "-", ", ") + " }"
        match = [protocol, end_name, subnet, "tcp", "dport", listed_ports]
        return command_line(["nft", "insert", "rule", *place, *match, "accept"])
    return command_line(
        ["nft", "-j", json.dumps(_as_json(chain, protocol, end_name, subnet, ports))]
    )


def _end(direction: Direction) -> str:
    return "saddr" if direction == "input" else "daddr"


def _as_json(chain: Chain, protocol: str, end: str, subnet: str, ports: _Ports) -> dict[str, Any]:
    """Return the same rule in the language that knows no keywords (libnftables-json(5))."""
    network = ipaddress.ip_network(subnet, strict=False)
    prefix = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
    port_set = {"set": [low if low == high else {"range": [low, high]} for low, high in ports]}

    def match(of: str, field: str, value: Any) -> dict[str, Any]:
        left = {"payload": {"protocol": of, "field": field}}
        return {"match": {"op": "==", "left": left, "right": value}}

    place = {"family": chain.family, "table": chain.table, "chain": chain.name}
    expression = [match(protocol, end, prefix), match("tcp", "dport", port_set), {"accept": None}]
    return {"nftables": [{"insert": {"rule": {**place, "expr": expression}}}]}


def _listed(ports: _Ports, dash: str, comma: str) -> str:
    return comma.join(str(low) if low == high else f"{low}{dash}{high}" for low, high in ports)


def _in_words(ports: _Ports) -> str:
    one = len(ports) == 1 and ports[0][0] == ports[0][1]
    return f"port {ports[0][0]}" if one else f"ports {_listed(ports, '-', ' and ')}"
