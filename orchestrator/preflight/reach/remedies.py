"""What mends a fault between nodes, on one of them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from orchestrator.plan.network import interface_of
from orchestrator.preflight.model import NoAnswer, NodeContext, Remedy
from orchestrator.preflight.reach.attempts import Cause
from orchestrator.preflight.reach.faults import Fault, Kind
from orchestrator.preflight.reach.firewall import (
    Chain,
    Firewall,
    blames,
    open_elsewhere,
    open_inbound,
    open_outbound,
)
from orchestrator.preflight.reach.link import Link, add_route, subnet_of, switch_on
from orchestrator.preflight.reach.openings import Direction
from orchestrator.preflight.reach.reachability import Defences
from orchestrator.util.quoting import command_line

Advice = tuple[str | None, tuple[str, ...]]
"""A sentence, and the lines to paste."""

_USUAL_RANGE = (32768, 60999)  # of ephemeral ports, as Linux has it
_OPEN = {"input": open_inbound, "output": open_outbound}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRIORITIES = {"prerouting": -100, "postrouting": 100}  # of translating chains (nft(8))


@dataclass(frozen=True)
class Remedies:
    """The fault, and one node that may be at fault, with what is known of it."""

    fault: Fault
    node: NodeContext
    defences: Defences | None

    def remedy(self, directions: tuple[Direction, ...], guilty: bool) -> Advice:
        """Return what to do; `directions` are those in which packets are stopped, if it is here.

        `guilty` is whether somebody's own rules, this node's among them, are known to do it.
        """
        cause = self.fault.cause
        if self.fault.kind is Kind.ITSELF:
            return self._to_itself(), ()
        if cause is Cause.NO_ROUTE:
            return self._route()
        if cause is Cause.UNKNOWN_NEIGHBOUR:
            return self._link()
        if cause in (Cause.FOREIGN, Cause.SILENT, Cause.CLOSED):
            return self._own_port()
        return self._let_through(directions, guilty)

    def untranslated_source(self) -> Advice:
        """Return what keeps the node's own address on what it sends."""
        subnet = subnet_of(self.node.context)
        match = ["daddr", subnet] if subnet else []
        commands = self._exempt("postrouting", match, ["-d", subnet or ""]) if subnet else ()
        where = "" if commands else ", here or in a router between the nodes"
        return f"leave out what goes to the network of the job from translation{where}", commands

    def _route(self) -> Advice:
        commands = add_route(self.node)
        if commands:
            return "give it a route to the network of the job", commands
        return "give it a route to the other nodes, or choose a network with --main-address", ()

    def _link(self) -> Advice:
        interface = self.node.plan.interface
        link = None if self.defences is None else self.defences.link
        if isinstance(link, Link):
            if commands := switch_on(self.node, link):
                return f"switch {interface} on, so that others find it", commands
            if link.carrier is False:
                return f"{interface} has no signal: see its cable and the port of the switch", ()
        text = (
            f"see that {interface} is on the same network as the others (VLAN, switch, cable), and that "
            f"{self.node.plan.address} is its address and no other's"
        )
        return text, ()

    def _to_itself(self) -> str:
        address = self.node.context.plan.main_address
        at_main = any(way.door == "main" for way in self.fault.ways)
        if at_main and interface_of(self.node.facts, address) is None:
            return "give an address of its own with --main-address, or translate its own packets as well"
        return "have its firewall accept all that comes in and goes out by lo"

    def _own_port(self) -> Advice:
        plan, subnet = self.node.context.plan, subnet_of(self.node.context)
        if self.fault.kind is Kind.MAIN_PORT:
            port = str(plan.main_port)
            commands: tuple[str, ...] = ()
            if subnet is not None:
                match = ["saddr", subnet, "tcp", "dport", port]
                legacy = ["-s", subnet, "-p", "tcp", "--dport", port]
                commands = self._exempt("prerouting", match, legacy)
            if commands:
                return "leave the job's main port out of the redirection", commands
            return f"see what takes port {port} there, or choose another with --main-port", ()
        return "see what stands between the nodes: they must reach each other's own addresses", ()

    def _exempt(self, hook: str, match: list[str], legacy: list[str]) -> tuple[str, ...]:
        """Return lines that end the chains which translate addresses at `hook` for such packets."""
        firewall = None if self.defences is None else self.defences.firewall
        if not isinstance(firewall, Firewall):
            return ()
        version = ipaddress.ip_network(match[1], strict=False).version
        protocol = "ip" if version == 4 else "ip6"
        commands = []
        for chain in firewall.chains:
            if not _translates(chain, hook) or chain.family not in (protocol, "inet"):
                continue
            if chain.tool != "nft":
                words = [chain.tool, "-t", chain.table, "-I", chain.name, *legacy, "-j", "ACCEPT"]
            elif _NAME.fullmatch(chain.table) and _NAME.fullmatch(chain.name):
                place = [chain.family, chain.table, chain.name]
                words = ["nft", "insert", "rule", *place, protocol, *match, "accept"]
            else:
                continue
            commands.append(command_line(words))
        return tuple(commands)

    def _let_through(self, directions: tuple[Direction, ...], guilty: bool) -> Advice:
        subnet, main_port = subnet_of(self.node.context), self.node.context.plan.main_port
        if subnet is None:
            return "let TCP between the nodes through, on all ports", ()
        firewall, ports = self._firewall_and_ports()
        opened: list[Remedy] = []
        if firewall is not None:
            for direction in directions:
                if not guilty or blames(firewall, direction):
                    remedy = _OPEN[direction](firewall, subnet, main_port, ports)
                    opened += [remedy] if remedy is not None else []
        if not opened:
            opened = [open_elsewhere(subnet, main_port, ports)]
            if self.fault.kind is Kind.CUT_OFF and self.fault.cause is Cause.DROPPED:
                # A neighbour that answered a moment ago is not asked for yet: it is silence, too.
                opened.append(Remedy(f"or {self._link()[0]}"))
        commands = tuple(line for remedy in opened for line in remedy.commands)
        return "; ".join(remedy.text for remedy in opened), commands

    def _firewall_and_ports(self) -> tuple[Firewall | None, tuple[int, int]]:
        if self.defences is None:
            return None, _USUAL_RANGE
        firewall, ports = self.defences.firewall, self.defences.port_range
        return (
            None if isinstance(firewall, NoAnswer) else firewall,
            _USUAL_RANGE if isinstance(ports, NoAnswer) else ports,
        )


def _translates(chain: Chain, hook: str) -> bool:
    if chain.tool != "nft":
        return chain.hook == hook and chain.table == "nat"
    return chain.hook == hook and chain.priority == _PRIORITIES[hook]
