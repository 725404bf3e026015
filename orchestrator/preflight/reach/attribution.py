"""Report a fault between nodes: which node is the cause, what was measured, and how to fix it there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.inventory.ranges import fold
from orchestrator.preflight.model import Context, NoAnswer, NodeContext, Status
from orchestrator.preflight.reach.attempts import Cause, Outcome, Way
from orchestrator.preflight.reach.faults import Fault, Kind
from orchestrator.preflight.reach.firewall import Firewall, may_block
from orchestrator.preflight.reach.link import subnet_of
from orchestrator.preflight.reach.load import described
from orchestrator.preflight.reach.neighbours import widen
from orchestrator.preflight.reach.openings import Direction
from orchestrator.preflight.reach.reachability import ATTEMPT_TIMEOUT, Defences, Reachability
from orchestrator.preflight.reach.remedies import Remedies
from orchestrator.preflight.verdict import Verdict, fail, warn

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
_PROXY = "a proxy, or NAT to another service"
_WORKS = ", but the other direction works"
_FILTERED = (Cause.DROPPED, Cause.REFUSED, Cause.REJECTED, Cause.PROHIBITED)


@dataclass(frozen=True)
class Attribution:
    """One fault, as it is reported for the nodes that may be its cause."""

    context: Context
    found: Reachability
    fault: Fault

    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Return a verdict on each node named: those with rules that stop it, if there are any."""
        if self.fault.kind is Kind.TABLE_FULL:
            return [(name, self._table_full(name)) for name in self.fault.nodes]
        if self.fault.kind is Kind.TRANSLATED:
            return [(name, self._translated(name)) for name in self.fault.nodes]
        blocking = [name for name in self.fault.suspects if self._blocks(name)]
        both_ends = self.fault.kind in (Kind.EITHER, Kind.BLOCKS)
        named = blocking or (self.fault.suspects if both_ends else self.fault.nodes)
        return [(name, self._verdict(self._node(name), bool(blocking))) for name in named]

    def _verdict(self, node: NodeContext, confirmed: bool) -> Verdict:
        """Return the verdict on `node`; `confirmed` if the named nodes' own rules stop it."""
        remedy = self._remedies(node.name).remedy(self._directions(node.name), confirmed)
        if end := self._stuck_end(node):
            text = f"see what keeps {end} busy, and try again; if nothing does: {remedy.text}"
            remedy = replace(remedy, text=text)
        message = f"{self._what(node)}: {self._how(node)}{self._by_rules(node.name, confirmed)}"
        status = Status.FAIL if self._stops_the_job(node) else Status.WARN
        return Verdict(status, message, remedy.text, remedy.commands, self._data(node.name))

    def _stops_the_job(self, node: NodeContext) -> bool:
        """Return whether the job hangs: a node connects to itself as main, or for several ranks."""
        is_main = node.name == self.context.names[0]
        return self.fault.kind is not Kind.ITSELF or is_main or node.plan.devices > 1

    def _directions(self, name: str) -> tuple[Direction, ...]:
        """Return in which direction the node stops packets, if it is the cause."""
        kind, is_target = self.fault.kind, name in self.fault.nodes
        if kind in (Kind.INBOUND, Kind.MAIN_PORT):
            return ("input",)
        if kind is Kind.EGRESS:
            return ("output",)
        if kind in (Kind.EITHER, Kind.PAIRS):
            return ("input",) if is_target else ("output",)
        return ("input", "output")

    def _blocks(self, name: str) -> bool:
        """Return whether the node's own rules, or its interface, are known to stop it."""
        defences = self._defences(name)
        if self.fault.cause is Cause.UNKNOWN_NEIGHBOUR:
            return defences.link_is_off
        firewall = defences.firewall
        if isinstance(firewall, NoAnswer) or self.fault.cause not in _FILTERED:
            return False
        return any(may_block(firewall, way) for way in self._directions(name))

    def _what(self, node: NodeContext) -> str:
        kind, port = self.fault.kind, self.context.plan.main_port
        others = self._others(node.name)
        directions = self._directions(node.name)
        if kind is Kind.MAIN_PORT:
            return f"is not reachable on the main port {port} from {others}, but is on other ports"
        if kind is Kind.ITSELF:
            at_main = any(way.port == "main" for way in self.fault.ways)
            address = self.context.plan.main_address if at_main else node.plan.address
            return f"does not reach itself at {address}, where its own ranks connect"
        if kind is Kind.EVERYONE:
            but = f", except main on its main port {port}" if self.fault.only_main_port else ""
            return f"no node reaches any other{but}"
        if self.fault.only_main_port and node.name == self.context.names[0]:
            return (
                f"is reachable from {others} only on the main port {port}, not on the ephemeral ports "
                "that NCCL and gloo listen on"
            )
        if directions == ("input",):
            return f"is not reachable from {others}{_WORKS if kind is Kind.INBOUND else ''}"
        if directions == ("output",):
            return f"does not reach {others}{_WORKS if kind is Kind.EGRESS else ''}"
        return f"does not reach {others}, and is not reachable from there"

    def _how(self, node: NodeContext) -> str:
        """Return what was measured, in a text that is the same for all nodes with the same fault."""
        outcomes = (self.found.outcomes[way] for way in self.fault.ways)
        cause = self.fault.cause
        outcome = next(each for each in outcomes if each.cause is cause)
        match cause:
            case Cause.DROPPED | Cause.SILENT if self._stuck_end(node):
                return (
                    f"no answer in {outcome.seconds:.0f} s, and {self._stuck_end(node)} does not answer "
                    "itself either: it is too busy, or filters lo as well"
                )
            case Cause.DROPPED:
                return f"no answer in {outcome.seconds:.0f} s, so packets are dropped"
            case Cause.REFUSED:
                listens = "though orch listens there" if self._listens() else "also from itself"
                return f"refused at once with a TCP reset, {listens}"
            case Cause.REJECTED:
                kind = _ICMP.get(outcome.icmp or (0, 0), "unreachable")
                return f"rejected at once with ICMP ({kind}) by {self._rejecter(outcome)}"
            case Cause.UNKNOWN_NEIGHBOUR:
                return f"no route to host after {outcome.seconds:.0f} s, as no host answers ARP"
            case Cause.NO_ROUTE:
                return f"network unreachable, as there is no route to {subnet_of(self.context)}"
            case Cause.PROHIBITED:
                return "prohibited by its own kernel"
            case Cause.FOREIGN:
                return (
                    f"another service answers with {outcome.detail[:40]!r} instead of orch's listener: "
                    "packets are redirected (NAT), or go to another host"
                )
            case Cause.SILENT:
                return f"accepted, then silent for {outcome.seconds:.0f} s: {_PROXY}"
            case Cause.CLOSED:
                return f"accepted, and closed at once, but not by orch: {_PROXY}"
        return f"failed with {outcome.detail or outcome.result!r} on {node.plan.interface}"

    def _stuck_end(self, node: NodeContext) -> str:
        """Return the end of the fault that does not answer itself, with its load; empty if all do."""
        if self.fault.kind is Kind.ITSELF or self._blocks(node.name):
            return ""
        ends = (node.name, *self.fault.nodes, *self.fault.peers)
        name = next((each for each in ends if self.found.is_stuck(each)), None)
        if name is None:
            return ""
        own = "it" if name == node.name else name
        return f"{own}{described(self._defences(name).load)}"

    def _listens(self) -> bool:
        """Return whether the nodes that are not reachable reach themselves, if that was tried."""
        if self.fault.kind is Kind.ITSELF:
            return True
        themselves = (Way(way.target, way.target, way.port) for way in self.fault.ways)
        found = [self.found.outcomes[way] for way in themselves if way in self.found.outcomes]
        return all(outcome.passed for outcome in found)

    def _by_rules(self, name: str, confirmed: bool) -> str:
        """Return whether the node's own rules do it, as far as that is known."""
        if self.fault.cause not in _FILTERED or self.fault.kind is Kind.ITSELF:
            return ""
        firewall = self._defences(name).firewall
        if confirmed and isinstance(firewall, Firewall):
            return f" (by its own {firewall.name} rules)"
        if self.fault.kind is Kind.EITHER:
            target, source = self.fault.nodes[0], self.fault.peers[0]
            ends = f"a filter for input at {target} and one for output at {source}"
            return f" ({ends} look the same from here)"
        if isinstance(firewall, NoAnswer) or firewall.unreadable:
            return ""
        return " (not by its own rules)"

    def _others(self, name: str) -> str:
        """Return the other end of the fault."""
        is_peer = name in self.fault.peers and name not in self.fault.nodes
        others = self.fault.nodes if is_peer else self.fault.peers
        if not others or (len(others) > 1 and {name, *others} == self._everyone):
            return "any other node"
        # By name, such nodes would be one finding each: in a ring, each node has other neighbours.
        alone = self.fault.kind in (Kind.INBOUND, Kind.EGRESS, Kind.CUT_OFF)
        return "any other node that was tried" if alone and len(others) > 1 else fold(others)

    @property
    def _everyone(self) -> set[str]:
        return set(self.context.names) - set(self.found.silent)

    def _rejecter(self, outcome: Outcome) -> str:
        if outcome.by is None:
            return "an unknown host"
        if outcome.by == outcome.local:
            return "the sender's own kernel"
        addresses = {node.address for node in self.context.plan.nodes}
        return "the receiver" if outcome.by in addresses else f"{outcome.by} on the way"

    def _translated(self, name: str) -> Verdict:
        ways = [way for way in self.fault.ways if way.source == name]
        outcome = self.found.outcomes[ways[0]]
        remedy = self._remedies(name).untranslated_source()
        return warn(
            f"is seen as {outcome.seen} by {fold({way.target for way in ways})} instead of its address "
            f"{outcome.local}: its packets are translated (NAT)",
            remedy.text,
            remedy.commands,
            self._data(name),
        )

    def _table_full(self, name: str) -> Verdict:
        remedy = widen(len(self.context.names))
        return fail(
            "cannot reach all other nodes: the kernel's table of neighbours is full, so their packets were "
            "never sent",
            remedy.text,
            remedy.commands,
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
                    "port": way.port,
                    "result": outcome.result,
                    "seconds": round(outcome.seconds, 6),
                    **({"icmp": list(outcome.icmp), "by": outcome.by} if outcome.icmp else {}),
                }
                for way in ways[:16]
                for outcome in [self.found.outcomes[way]]
            ],
        }

    def _remedies(self, name: str) -> Remedies:
        return Remedies(self.fault, self._node(name), self._defences(name))

    def _defences(self, name: str) -> Defences:
        return self.found.defences.get(name, Defences())

    def _node(self, name: str) -> NodeContext:
        return self.context.nodes[self.context.names.index(name)]


def explain(context: Context, found: Reachability) -> Iterable[tuple[str, Verdict]]:
    """Yield the verdicts on all faults, by node, then those on nodes that answered late."""
    named = set()
    for fault in found.faults:
        for name, verdict in Attribution(context, found, fault).verdicts():
            named.add(name)
            yield name, verdict
    for name in context.names:
        if name in found.late and name not in named:
            load = described(found.defences.get(name, Defences()).load)
            yield (
                name,
                warn(
                    f"answers others, but not in {ATTEMPT_TIMEOUT:.0f} s: it is too busy{load}",
                    "see what keeps it busy; a job may time out there as well",
                    ("ps -eo pcpu,pid,user,args --sort=-pcpu | head",),
                    as_root=False,
                ),
            )
