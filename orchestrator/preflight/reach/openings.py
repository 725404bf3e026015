"""TCP traffic to allow, and the commands that allow it in each kind of firewall."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from orchestrator.util.numbers import shown_ranges
from orchestrator.util.quoting import command_line

Direction = Literal["input", "output"]

_POLICY = "orch-out"  # the policy that the commands create in firewalld


@dataclass(frozen=True)
class Opening:
    """TCP from `subnet` (input), or to it (output), to these ports.

    `ports` are ranges (first, last) that do not overlap: nft refuses a set with overlaps. Each method that
    opens them returns lines for a POSIX shell. Raises ValueError if `subnet` is not a network.
    """

    direction: Direction
    subnet: str
    ports: tuple[tuple[int, int], ...]

    @classmethod
    def make(
        cls, direction: Direction, subnet: str, main_port: int | None, port_range: tuple[int, int]
    ) -> Opening:
        """Return the opening for a main port (None: any), which the range may contain, and a range."""
        network = ipaddress.ip_network(subnet, strict=False)
        low, high = port_range
        main = () if main_port is None or low <= main_port <= high else ((main_port, main_port),)
        return cls(direction, str(network), (*main, port_range))

    @property
    def listed(self) -> str:
        """The ports in a sentence: `29500 and 32768-60999`."""
        return self._list("-", " and ")

    @cached_property
    def version(self) -> int:
        return ipaddress.ip_network(self.subnet).version

    def ufw(self) -> list[str]:
        # At most 15 ports, and a range counts as two (ufw(8)): these are three.
        incoming = self.direction == "input"
        way = ["from", self.subnet, "to", "any"] if incoming else ["out", "to", self.subnet]
        ports = ["port", self._list(":", ","), "proto", "tcp"]
        return [command_line(["ufw", "allow", *way, *ports])]

    def firewalld_zone(self, zone: str | None) -> list[str]:
        """Allow incoming traffic in a zone; None is the default zone."""
        where = [] if zone is None else [f"--zone={zone}"]
        return _firewall_cmd([*where, rule] for rule in self._rich_rules("source"))

    def firewalld_policy(self) -> list[str]:
        """Allow outgoing traffic, which policies filter, not zones (firewalld 0.9 and later)."""
        policy = f"--policy={_POLICY}"
        return _firewall_cmd(
            [
                [f"--new-policy={_POLICY}"],
                [policy, "--add-ingress-zone=HOST"],
                [policy, "--add-egress-zone=ANY"],
                [policy, "--set-priority=-32000"],  # before any other
                *([policy, rule] for rule in self._rich_rules("destination")),
            ]
        )

    def firewalld_direct(self) -> list[str]:
        """Allow outgoing traffic if firewalld uses iptables."""
        rule = [f"ipv{self.version}", "filter", "OUTPUT", "0", *self._iptables_match()]
        return _firewall_cmd([["--direct", "--add-rule", *rule]])

    def iptables(self, tool: str, table: str, chain: str) -> list[str]:
        """Allow it before all other rules of a chain; `tool` is iptables, ip6tables, or a variant."""
        where = [] if table == "filter" else ["-t", table]
        return [command_line([tool, *where, "-I", chain, *self._iptables_match()])]

    def nft(self, family: str, table: str, chain: str) -> list[str]:
        """Allow it before all other rules of a chain with names that nft's own syntax can express."""
        end = ["ip" if self.version == 4 else "ip6", self._end, self.subnet]
        ports = ["tcp", "dport", "{ " + self._list("-", ", ") + " }"]
        return [
            command_line(["nft", "insert", "rule", family, table, chain, *end, *ports, "accept"])
        ]

    def nft_json(self, family: str, table: str, chain: str) -> list[str]:
        """Allow it before all other rules of any chain, as JSON for nft (libnftables-json(5))."""

        def match(protocol: str, field: str, value: Any) -> dict[str, Any]:
            left = {"payload": {"protocol": protocol, "field": field}}
            return {"match": {"op": "==", "left": left, "right": value}}

        network = ipaddress.ip_network(self.subnet)
        prefix = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
        ports = [low if low == high else {"range": [low, high]} for low, high in self.ports]
        rule = {
            "family": family,
            "table": table,
            "chain": chain,
            "expr": [
                match("ip" if self.version == 4 else "ip6", self._end, prefix),
                match("tcp", "dport", {"set": ports}),
                {"accept": None},
            ],
        }
        return [command_line(["nft", "-j", json.dumps({"nftables": [{"insert": {"rule": rule}}]})])]

    @property
    def _end(self) -> str:
        return "saddr" if self.direction == "input" else "daddr"

    def _iptables_match(self) -> list[str]:
        end = ["-s" if self.direction == "input" else "-d", self.subnet]
        ports = ["-p", "tcp", "-m", "multiport", "--dports", self._list(":", ",")]
        return [*end, *ports, "-j", "ACCEPT"]

    def _rich_rules(self, end: str) -> list[str]:
        rule = f'rule family="ipv{self.version}" {end} address="{self.subnet}"'
        return [
            f'--add-rich-rule={rule} port port="{shown_ranges((port,))}" protocol="tcp" accept'
            for port in self.ports
        ]

    def _list(self, dash: str, comma: str) -> str:
        return shown_ranges(self.ports, dash, comma)


def _firewall_cmd(changes: Iterable[Sequence[str]]) -> list[str]:
    lines = [["firewall-cmd", "--permanent", *change] for change in changes]
    return [command_line(line) for line in [*lines, ["firewall-cmd", "--reload"]]]
