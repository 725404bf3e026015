"""How to fix a fault between nodes on one of them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from orchestrator.plan.network import interface_of
from orchestrator.preflight.model import NoAnswer, NodeContext, Remedy
from orchestrator.preflight.reach.attempts import Cause
from orchestrator.preflight.reach.faults import Fault, Kind
from orchestrator.preflight.reach.firewall import (
    DEFAULT_PORT_RANGE,
    Chain,
    Firewall,
    may_block,
    open_elsewhere,
    open_ports,
)
from orchestrator.preflight.reach.link import Link, add_route, bring_up, subnet_of
from orchestrator.preflight.reach.openings import Direction, Opening
from orchestrator.preflight.reach.reachability import Defences
from orchestrator.util.quoting import command_line

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAT_PRIORITIES = {"prerouting": -100, "postrouting": 100}  # of chains that translate (nft(8))


@dataclass(frozen=True)
class Remedies:
    """How to fix a fault on one node that may be its cause."""

    fault: Fault
    node: NodeContext
    defences: Defences

    def remedy(self, directions: tuple[Direction, ...], confirmed: bool) -> Remedy:
        """Return what to do; `directions` are those in which packets are stopped, if it is on this node.

        `confirmed` means that the rules of a node, maybe of another one, are known to stop them.
        """
        cause = self.fault.cause
        if self.fault.kind is Kind.ITSELF:
            return self._to_itself()
        if cause is Cause.NO_ROUTE:
            return self._route()
        if cause is Cause.UNKNOWN_NEIGHBOUR:
            return self._link()
        if cause in (Cause.FOREIGN, Cause.SILENT, Cause.CLOSED):
            return self._own_port()
        return self._let_through(directions, confirmed)

    def untranslated_source(self) -> Remedy:
        """Return how to keep the node's own address on the packets that it sends."""
        commands = self._exempt("postrouting")
        where = "" if commands else ", here or in a router between the nodes"
        return Remedy(f"exempt traffic to the network of the job from translation{where}", commands)

    def _route(self) -> Remedy:
        if commands := add_route(self.node):
            return Remedy("add a route to the network of the job", commands)
        return Remedy("add a route to the other nodes, or choose a network with --main-address")

    def _link(self) -> Remedy:
        interface, link = self.node.plan.interface, self.defences.link
        if isinstance(link, Link):
            if commands := bring_up(self.node, link):
                return Remedy(f"bring {interface} up, so that others find it", commands)
            if link.carrier is False:
                return Remedy(f"{interface} has no carrier: check its cable and its switch port")
        return Remedy(
            f"check that {interface} is on the same network as the others (VLAN, switch, cable), and "
            f"that no other host uses {self.node.plan.address}"
        )

    def _to_itself(self) -> Remedy:
        address = self.node.context.plan.main_address
        at_main = any(way.port == "main" for way in self.fault.ways)
        if at_main and interface_of(self.node.facts, address) is None:
            return Remedy(
                "give one of its own addresses with --main-address, or fix the NAT for itself"
            )
        return Remedy("let its firewall accept all traffic on lo")

    def _own_port(self) -> Remedy:
        if self.fault.kind is not Kind.MAIN_PORT:
            return Remedy(
                "look for a proxy or NAT between the nodes: they must reach each other's own addresses"
            )
        if commands := self._exempt("prerouting"):
            return Remedy("exempt the job's main port from the redirection", commands)
        port = self.node.context.plan.main_port
        return Remedy(f"find what redirects port {port} there, or choose another with --main-port")

    def _exempt(self, hook: Literal["prerouting", "postrouting"]) -> tuple[str, ...]:
        """Return commands that exempt the job's packets from the chains that translate them at `hook`.

        These are packets to the main port (prerouting), or to the network of the job (postrouting).
        """
        firewall, subnet = self.defences.firewall, subnet_of(self.node.context)
        if isinstance(firewall, NoAnswer) or subnet is None:
            return ()
        if hook == "prerouting":
            port = str(self.node.context.plan.main_port)
            match = ["saddr", subnet, "tcp", "dport", port]
            legacy = ["-s", subnet, "-p", "tcp", "--dport", port]
        else:
            match, legacy = ["daddr", subnet], ["-d", subnet]
        version = ipaddress.ip_network(subnet, strict=False).version
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

    def _let_through(self, directions: tuple[Direction, ...], confirmed: bool) -> Remedy:
        subnet, main_port = subnet_of(self.node.context), self.node.context.plan.main_port
        if subnet is None:
            return Remedy("let TCP between the nodes through, on all ports")
        firewall, ports = self.defences.firewall, self.defences.port_range
        ports = DEFAULT_PORT_RANGE if isinstance(ports, NoAnswer) else ports
        found: list[Remedy] = []
        for direction in directions:
            if isinstance(firewall, Firewall) and (not confirmed or may_block(firewall, direction)):
                opening = Opening.make(direction, subnet, main_port, ports)
                found += filter(None, [open_ports(firewall, opening)])
        if not found:
            found = [open_elsewhere(Opening.make("input", subnet, main_port, ports))]
            if self.fault.kind is Kind.CUT_OFF and self.fault.cause is Cause.DROPPED:
                # A neighbour that answered a moment ago is not asked for yet: it may be that as well.
                found.append(Remedy(f"or {self._link().text}"))
        commands = tuple(line for remedy in found for line in remedy.commands)
        return Remedy("; ".join(remedy.text for remedy in found), commands)


def _translates(chain: Chain, hook: str) -> bool:
    is_nat = (
        chain.table == "nat" if chain.tool != "nft" else chain.priority == _NAT_PRIORITIES[hook]
    )
    return chain.hook == hook and is_nat
