"""Attribute failed attempts to faults: a node's inbound or outbound traffic, two blocks of nodes, one port.

A firewall shows as a row or a column of failures, not as a single one. The faults reported are the
fewest that explain all failures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from orchestrator.preflight.reach.attempts import Cause, Outcome, Outcomes, Way
from orchestrator.util.groups import grouped

Pair = tuple[str, str]
Pairs = frozenset[Pair]


class Kind(Enum):
    """What is wrong with the fault's `nodes` (and `peers`)."""

    CUT_OFF = auto()  # the node reaches no other node, and none reaches it
    INBOUND = auto()  # no node reaches it, but it reaches others
    EGRESS = auto()  # it reaches no node, but others reach it
    EITHER = auto()  # the way into the node or the way out of the peer: the outcome fits both
    BLOCKS = auto()  # nothing passes between the nodes and the peers, but within each group it does
    EVERYONE = auto()  # no node reaches any other
    PAIRS = auto()  # only these peers do not reach these nodes
    MAIN_PORT = auto()  # these peers reach main, but not on the main port
    TRANSLATED = auto()  # the peers see the node under another address than it has
    ITSELF = auto()  # the node does not reach itself, and nothing else is wrong with it
    TABLE_FULL = auto()  # the nodes have no room for all neighbours that they need


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong and the attempts that it explains; `cause` is that of most of them.

    `only_main_port` means that nodes that do not reach main otherwise reach its main port.
    """

    kind: Kind
    nodes: tuple[str, ...]
    peers: tuple[str, ...]
    ways: tuple[Way, ...]
    cause: Cause
    only_main_port: bool = False

    @property
    def suspects(self) -> tuple[str, ...]:
        """The nodes that may be the cause."""
        both = (Kind.EITHER, Kind.BLOCKS, Kind.PAIRS)
        return (*self.nodes, *self.peers) if self.kind in both else self.nodes


def attribute(nodes: Sequence[str], outcomes: Outcomes) -> list[Fault]:
    """Return what is wrong among `nodes` (main first).

    That a node does not reach itself tells nothing about the way between nodes. It is reported last,
    and only for nodes without another fault.
    """
    others = {way: outcome for way, outcome in outcomes.items() if way.source != way.target}
    unsent = _unsent(others)
    sent = {way: outcome for way, outcome in others.items() if way not in unsent}
    faults = [*_table_full(nodes, unsent), *_Attribution(nodes, sent).faults()]
    stopped = [fault for fault in faults if fault.kind is not Kind.TRANSLATED]
    named = {name for fault in stopped for name in fault.suspects}
    return [*faults, *_themselves([name for name in nodes if name not in named], outcomes)]


def _unsent(outcomes: Outcomes) -> dict[Way, Outcome]:
    """Return the attempts that fail because a node has no room for another neighbour.

    The node may have had room again when a timeout was looked at, and it cannot answer others either.
    """
    full = {way.source for way, outcome in outcomes.items() if outcome.cause is Cause.TABLE_FULL}
    return {
        way: outcome
        for way, outcome in outcomes.items()
        if outcome.cause is Cause.TABLE_FULL
        or (outcome.cause is Cause.DROPPED and not full.isdisjoint(way[:2]))
    }


def _table_full(nodes: Iterable[str], unsent: Outcomes) -> Iterator[Fault]:
    """Return one fault of all nodes whose table of neighbours is full, if there are any."""
    full = {way.source for way, outcome in unsent.items() if outcome.cause is Cause.TABLE_FULL}
    if full:
        peers = {way.target for way in unsent}
        ordered = [tuple(name for name in nodes if name in group) for group in (full, peers)]
        yield Fault(Kind.TABLE_FULL, ordered[0], ordered[1], tuple(unsent), Cause.TABLE_FULL)


def _themselves(nodes: Iterable[str], outcomes: Outcomes) -> Iterator[Fault]:
    for name in nodes:
        own = [way for way in outcomes if way.source == name == way.target]
        failed = tuple(way for way in own if not outcomes[way].passed)
        if failed:
            yield Fault(Kind.ITSELF, (name,), (), failed, outcomes[failed[0]].cause)


class _Attribution:
    def __init__(self, nodes: Sequence[str], outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        tried = {(way.source, way.target): way for way in outcomes if way.port == "ephemeral"}
        self._order = tuple(nodes)
        self._place = {name: place for place, name in enumerate(nodes)}
        self._main = nodes[0]
        self._nodes = [name for name in nodes if any(name in pair for pair in tried)]
        self._tried: Pairs = frozenset(tried)
        self._bad: Pairs = frozenset(p for p, way in tried.items() if not outcomes[way].passed)
        self._bad_of = grouped((name, pair) for pair in self._bad for name in pair)

    def faults(self) -> list[Fault]:
        return [*self._between_nodes(), *self._main_port(), *self._translated()]

    def _between_nodes(self) -> list[Fault]:
        """Explain the failures on ephemeral ports."""
        groups = self._groups()
        if self._bad and len(groups) == len(self._nodes):
            cause = self._single_cause()
            if cause is not None:
                return [self._fault(Kind.CUT_OFF, [cause], self._bad)]
            return [self._fault(Kind.EVERYONE, self._nodes, self._bad)]
        found, covered = [], set[Pair]()
        for group in groups[1:]:
            members = {*group}
            touching = (pair for name in group for pair in self._bad_of.get(name, ()))
            pairs = {pair for pair in touching if not members.issuperset(pair)}
            covered |= pairs
            if pairs:
                kind = Kind.CUT_OFF if len(group) == 1 else Kind.BLOCKS
                found.append(self._fault(kind, group, pairs))
        return found + self._one_way(frozenset(covered))

    def _groups(self) -> list[list[str]]:
        """Return the groups of nodes connected by ways that passed: the largest first, then main's."""
        group = {node: {node} for node in self._nodes}
        for source, target in self._tried - self._bad:
            if group[source] is not group[target]:
                small, large = sorted((group[source], group[target]), key=len)
                large |= small
                group |= dict.fromkeys(small, large)
        unique = {id(members): members for members in group.values()}.values()
        ordered = sorted(unique, key=lambda members: (-len(members), self._main not in members))
        return [[node for node in self._nodes if node in members] for members in ordered]

    def _single_cause(self) -> str | None:
        """Return the only node that can be the cause of all failures, if there is exactly one."""
        possible = set(self._nodes).intersection(*map(self._possible, self._bad))
        return possible.pop() if len(possible) == 1 else None

    def _possible(self, pair: Pair) -> set[str]:
        """Return the ends of a failed way that may be its cause."""
        source, target = pair
        if self._passes_by_main_port(pair):
            return {target}  # the source gets out, and the target is up
        side = self._outcomes[Way(source, target, "ephemeral")].side
        return {source, target} if side is None else {source if side == "source" else target}

    def _passes_by_main_port(self, pair: Pair) -> bool:
        outcome = self._outcomes.get(Way(*pair, "main"))
        return outcome is not None and outcome.passed

    def _one_way(self, covered: Pairs) -> list[Fault]:
        """Explain the remaining failures: rows and columns, the largest first, then single pairs."""
        tried, left = self._tried - covered, set(self._bad - covered)
        chosen: list[tuple[Kind, str, Pairs]] = []
        candidates = self._candidates(tried, left)
        while candidates := [each for each in candidates if not left.isdisjoint(each[2])]:
            chosen.append(max(candidates, key=lambda candidate: len(candidate[2] & left)))
            left -= chosen[-1][2]
        needed = list(chosen)
        times = Counter(pair for candidate in chosen for pair in candidate[2])
        for candidate in chosen:
            if all(times[pair] > 1 for pair in candidate[2]):
                needed.remove(candidate)
                times.subtract(candidate[2])
        needed.sort(key=lambda candidate: self._place[candidate[1]])
        return [*(self._row(*candidate) for candidate in needed), *self._pairs(left)]

    def _candidates(self, tried: Pairs, left: set[Pair]) -> list[tuple[Kind, str, Pairs]]:
        """Return the rows and columns that failed as a whole; inbound first, as it is more likely."""
        found = []
        for kind, end in ((Kind.INBOUND, 1), (Kind.EGRESS, 0)):
            ends = grouped((pair[end], pair) for pair in tried)
            for node in self._nodes:
                pairs = frozenset(ends.get(node, ()))
                if not left.isdisjoint(pairs) and pairs <= self._bad:
                    possible = [node in self._possible(pair) for pair in pairs]
                    if 2 * sum(possible) > len(possible):
                        found.append((kind, node, pairs))
        return found

    def _row(self, kind: Kind, node: str, pairs: Pairs) -> Fault:
        if len(pairs) == 1:
            ((source, target),) = pairs
            if self._possible((source, target)) != {node}:
                return self._fault(Kind.EITHER, [target], pairs, [source])
        return self._fault(kind, [node], pairs)

    def _pairs(self, pairs: Iterable[Pair]) -> list[Fault]:
        """Return one fault for all targets that the same sources do not reach."""
        sources = grouped((target, source) for source, target in pairs)
        targets = grouped(
            (frozenset(sources[target]), target) for target in self._nodes if target in sources
        )
        return [
            self._fault(Kind.PAIRS, names, {(s, t) for s in peers for t in names}, peers)
            for peers, names in targets.items()
        ]

    def _main_port(self) -> Iterator[Fault]:
        """Explain why nodes that reach main otherwise do not reach its main port."""
        stopped = tuple(
            way
            for way, outcome in self._outcomes.items()
            if way.port == "main" and not outcome.passed and way[:2] not in self._bad
        )
        if stopped:
            peers = self._in_order(way.source for way in stopped)
            cause = self._most_common_cause(stopped)
            yield Fault(Kind.MAIN_PORT, (stopped[0].target,), peers, stopped, cause)

    def _translated(self) -> Iterator[Fault]:
        ways = tuple(way for way, outcome in self._outcomes.items() if outcome.translated)
        if ways:
            nodes = self._in_order(way.source for way in ways)
            peers = self._in_order(way.target for way in ways)
            yield Fault(Kind.TRANSLATED, nodes, peers, ways, Cause.PASSED)

    def _fault(
        self, kind: Kind, nodes: Iterable[str], pairs: Iterable[Pair], peers: Iterable[str] = ()
    ) -> Fault:
        pairs, own = sorted(pairs), tuple(nodes)
        into_main = [pair for pair in pairs if pair[1] == self._main]
        ways = tuple(Way(source, target, "ephemeral") for source, target in pairs)
        return Fault(
            kind,
            own,
            self._in_order(peers or {node for pair in pairs for node in pair} - set(own)),
            ways,
            self._most_common_cause(self._conclusive(ways)),
            bool(into_main) and all(map(self._passes_by_main_port, into_main)),
        )

    def _conclusive(self, ways: Sequence[Way]) -> Sequence[Way]:
        """Return the attempts that tell most: a timeout may only be a consequence of the others."""
        own = [way for way in ways if self._outcomes[way].side == "source"]
        neighbour = [w for w in ways if self._outcomes[w].cause is Cause.UNKNOWN_NEIGHBOUR]
        return own or neighbour or ways

    def _most_common_cause(self, ways: Iterable[Way]) -> Cause:
        return Counter(self._outcomes[way].cause for way in ways).most_common(1)[0][0]

    def _in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        return tuple(node for node in self._order if node in wanted)
