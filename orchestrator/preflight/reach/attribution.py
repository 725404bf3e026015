"""Say of a fault between nodes whose it is, as measured, and what mends it there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.inventory.ranges import fold
from orchestrator.preflight.model import Context, NoAnswer, NodeContext, Status
from orchestrator.preflight.reach.attempts import Cause, Outcome, Way
from orchestrator.preflight.reach.faults import Fault, Kind
from orchestrator.preflight.reach.firewall import Firewall, blames
from orchestrator.preflight.reach.link import subnet_of
from orchestrator.preflight.reach.openings import Direction
from orchestrator.preflight.reach.reachability import Defences, Reachability
from orchestrator.preflight.reach.remedies import Remedies
from orchestrator.preflight.verdict import Verdict, warn

_ICMP = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 3): "port unreachable",
    (3, 9): "network prohibited",
    (3, 10): "host prohibited",
    (3, 13): "administratively prohibited",
    (1, 1): "administratively prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
}
_BOTH: tuple[Direction, ...] = ("input", "output")
_FILTERED = (Cause.DROPPED, Cause.REFUSED, Cause.REJECTED, Cause.PROHIBITED)


@dataclass(frozen=True)
class Attribution:
    """The fault, as it looks from the nodes that are named for it."""

    context: Context
    found: Reachability
    fault: Fault

    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Return a verdict on each node that is named: those whose own rules stop it, if any do."""
        if self.fault.kind is Kind.TRANSLATED:
            return [(name, self._translated(name)) for name in self.fault.nodes]
        guilty = [name for name in self.fault.suspects if self._is_guilty(name)]
        both_ends = self.fault.kind in (Kind.EITHER, Kind.BLOCKS)
        named = guilty or (self.fault.suspects if both_ends else self.fault.nodes)
        return [(name, self._verdict(self._subject(name), bool(guilty))) for name in named]

    def _verdict(self, node: NodeContext, guilty: bool) -> Verdict:
        text, commands = Remedies(self.fault, node, self._defences(node.name)).remedy(
            self._directions(node.name), guilty
        )
        message = f"{self._what(node)}: {self._how(node)}{self._whose(node, guilty)}"
        status = Status.FAIL if self._stops_the_job(node) else Status.WARN
        return Verdict(status, message, text, commands, self._data(node.name))

    def _stops_the_job(self, node: NodeContext) -> bool:
        """Return whether it hangs: a node reaches for itself as main, or where it has several ranks."""
        is_main = node.name == self.context.names[0]
        return self.fault.kind is not Kind.ITSELF or is_main or node.plan.devices > 1

    def _directions(self, name: str) -> tuple[Direction, ...]:
        """Return which way a node's packets are stopped, if it is that node which stops them."""
        kind, is_target = self.fault.kind, name in self.fault.nodes
        if kind in (Kind.INBOUND, Kind.MAIN_PORT):
            return ("input",)
        if kind is Kind.EGRESS:
            return ("output",)
        if kind in (Kind.EITHER, Kind.PAIRS):
            return ("input",) if is_target else ("output",)
        return _BOTH

    def _is_guilty(self, name: str) -> bool:
        defences = self._defences(name)
        if self.fault.cause is Cause.UNKNOWN_NEIGHBOUR:
            return defences is not None and defences.link_is_off
        if defences is None or isinstance(defences.firewall, NoAnswer):
            return False
        if self.fault.cause not in _FILTERED:
            return False
        return any(blames(defences.firewall, way) for way in self._directions(name))

    def _what(self, node: NodeContext) -> str:
        kind, port = self.fault.kind, self.context.plan.main_port
        others = self._others(node.name)
        directions = self._directions(node.name)
        if kind is Kind.MAIN_PORT:
            return f"is not reached on the main port {port} from {others}, though on other ports"
        if kind is Kind.ITSELF:
            at_main = any(way.door == "main" for way in self.fault.ways)
            address = self.context.plan.main_address if at_main else node.plan.address
            return f"does not reach itself at {address}, where its own ranks meet"
        if kind is Kind.EVERYONE:
            but = f", but main on its main port {port}" if self.fault.only_main_port else ""
            return f"no node reaches any other{but}"
        if self.fault.only_main_port and node.name == self.context.names[0]:
            return (
                f"is reached on the main port {port} only, and not on the ephemeral ports that NCCL "
                f"and gloo listen on, from {others}"
            )
        if directions == ("input",):
            works = ", which it reaches itself" if kind is Kind.INBOUND else ""
            return f"is not reached from {others}{works}"
        if directions == ("output",):
            works = ", which reach it" if kind is Kind.EGRESS else ""
            return f"does not reach {others}{works}"
        return f"does not reach {others}, nor is it reached from there"

    def _how(self, node: NodeContext) -> str:
        """Return what was measured, in words that are the same for all nodes that are alike."""
        outcome = self._sample()
        cause, plan = self.fault.cause, node.plan
        if cause is Cause.DROPPED:
            return f"no answer in {outcome.seconds:.0f} s, so packets are dropped"
        if cause is Cause.REFUSED:
            listens = "though orch listens there" if self._listens() else "and by itself as well"
            return f"refused at once by a reset, {listens}"
        if cause is Cause.REJECTED:
            kind = _ICMP.get(outcome.icmp or (0, 0), "unreachable")
            return f"rejected at once with ICMP ({kind}) by {self._rejecter(outcome)}"
        if cause is Cause.UNKNOWN_NEIGHBOUR:
            return f"no route to host after {outcome.seconds:.0f} s, as nobody answers ARP"
        if cause is Cause.NO_ROUTE:
            return f"the network is unreachable, as there is no route to {subnet_of(self.context)}"
        if cause is Cause.PROHIBITED:
            return "its own kernel does not permit it"
        if cause is Cause.FOREIGN:
            where = f"another service than orch's listener answers, with {outcome.words[:40]!r}"
            return f"{where}: packets are redirected (NAT), or go to another host"
        if cause is Cause.SILENT:
            return f"taken in, and then no word in {outcome.seconds:.0f} s: a proxy, or NAT to a service"
        if cause is Cause.CLOSED:
            return "taken in and closed at once by another than orch: a proxy, or NAT to a service"
        return f"it failed with {outcome.words or outcome.result!r} on {plan.interface}"

    def _listens(self) -> bool:
        """Return whether the nodes that are not reached reach themselves, as far as that was tried."""
        if self.fault.kind is Kind.ITSELF:
            return True
        themselves = (Way(way.target, way.target, way.door) for way in self.fault.ways)
        found = [self.found.outcomes[way] for way in themselves if way in self.found.outcomes]
        return all(outcome.passed for outcome in found)

    def _whose(self, node: NodeContext, guilty: bool) -> str:
        if self.fault.cause not in _FILTERED or self.fault.kind is Kind.ITSELF:
            return ""
        defences = self._defences(node.name)
        firewall = None if defences is None else defences.firewall
        if guilty and isinstance(firewall, Firewall):
            return f" (its {firewall.name} rules do that)"
        either = self.fault.kind is Kind.EITHER
        if either or not isinstance(firewall, Firewall) or firewall.unreadable:
            if either:
                target, source = self.fault.nodes[0], self.fault.peers[0]
                ends = f"what comes in at {target} and what goes out at {source}"
                return f" (from here {ends} look the same)"
            return ""
        return " (its own rules do not do that)"

    def _others(self, name: str) -> str:
        is_peer = name in self.fault.peers and name not in self.fault.nodes
        others = self.fault.nodes if is_peer else self.fault.peers
        if not others or (len(others) > 1 and {name, *others} == self._everyone):
            return "any other node"
        # By name such nodes would be a finding each: in a ring none has the neighbours of another.
        alone = self.fault.kind in (Kind.INBOUND, Kind.EGRESS, Kind.CUT_OFF)
        return "any other node that was tried" if alone and len(others) > 1 else fold(others)

    @property
    def _everyone(self) -> set[str]:
        return set(self.context.names) - set(self.found.silent)

    def _rejecter(self, outcome: Outcome) -> str:
        addresses = {node.address: node.name for node in self.context.plan.nodes}
        if outcome.by is None:
            return "somebody"
        if outcome.by == outcome.local:
            return "the sender's own kernel"
        return "the receiver" if outcome.by in addresses else f"{outcome.by} on the way"

    def _sample(self) -> Outcome:
        outcomes = [self.found.outcomes[way] for way in self.fault.ways]
        return next(o for o in outcomes if o.cause is self.fault.cause)

    def _translated(self, name: str) -> Verdict:
        ways = [way for way in self.fault.ways if way.source == name]
        outcome = self.found.outcomes[ways[0]]
        text, commands = Remedies(
            self.fault, self._subject(name), self._defences(name)
        ).untranslated_source()
        return warn(
            f"is seen as {outcome.seen} by {fold({way.target for way in ways})}, not as the "
            f"{outcome.local} that it has: its packets are translated (NAT)",
            text,
            commands,
            self._data(name),
        )

    def _data(self, name: str) -> Mapping[str, object]:
        ways = [way for way in self.fault.ways if name in (way.source, way.target)]
        return {
            "kind": self.fault.kind.name.lower(),
            "attempts": [
                {
                    "from": way.source,
                    "to": way.target,
                    "port": way.door,
                    "result": outcome.result,
                    "seconds": round(outcome.seconds, 6),
                    **({"icmp": list(outcome.icmp), "by": outcome.by} if outcome.icmp else {}),
                }
                for way in ways[:16]
                for outcome in [self.found.outcomes[way]]
            ],
        }

    def _defences(self, name: str) -> Defences | None:
        return self.found.defences.get(name)

    def _subject(self, name: str) -> NodeContext:
        return next(s for s in self.context.nodes if s.name == name)


def explain(context: Context, found: Reachability) -> Iterable[tuple[str, Verdict]]:
    """Yield the verdicts on all faults, by node."""
    for fault in found.faults:
        yield from Attribution(context, found, fault).verdicts()
