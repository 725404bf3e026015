"""From which attempts failed to whose fault it is: a node's way in, its way out, two blocks of nodes.

A firewall shows as a row or a column of failures, never as one; the faults told are the fewest that
explain them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from orchestrator.preflight.reach.attempts import Cause, Outcomes, Way

Pair = tuple[str, str]
Pairs = frozenset[Pair]


class Kind(Enum):
    """What is wrong, of the fault's `nodes` (and `peers`)."""

    CUT_OFF = auto()  # the node reaches nobody, and nobody reaches it
    INBOUND = auto()  # nobody reaches the node, which reaches others
    EGRESS = auto()  # the node reaches nobody, and others reach it
    EITHER = auto()  # the way into the node, or the way out of the peer: it cannot be told
    BLOCKS = auto()  # between the nodes and the peers nothing passes; among themselves it does
    EVERYONE = auto()  # nobody reaches anybody
    PAIRS = auto()  # only these peers do not reach these nodes
    MAIN_PORT = auto()  # main takes in these peers, but not on the main port
    TRANSLATED = auto()  # the peers see the node under another address than it has
    ITSELF = auto()  # the node does not reach itself, though nothing else is wrong with it


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong and the attempts that it explains; `cause` is what came of most of them.

    With `only_main_port` main's main port was reached by those who do not reach it otherwise.
    """

    kind: Kind
    nodes: tuple[str, ...]
    peers: tuple[str, ...]
    ways: tuple[Way, ...]
    cause: Cause
    only_main_port: bool = False

    @property
    def suspects(self) -> tuple[str, ...]:
        """The nodes whose own rules may be the reason."""
        both = (Kind.EITHER, Kind.BLOCKS, Kind.PAIRS)
        return (*self.nodes, *self.peers) if self.kind in both else self.nodes


def attribute(nodes: Sequence[str], outcomes: Outcomes) -> list[Fault]:
    """Return what is wrong among `nodes` (main first).

    That a node does not reach itself says nothing of the way between nodes, and is told last.
    """
    others = {way: outcome for way, outcome in outcomes.items() if way.source != way.target}
    faults = _Attribution(nodes, others).faults()
    stopped = [fault for fault in faults if fault.kind is not Kind.TRANSLATED]
    named = {name for fault in stopped for name in fault.suspects}
    return [*faults, *_themselves([name for name in nodes if name not in named], outcomes)]


def _themselves(nodes: Iterable[str], outcomes: Outcomes) -> Iterator[Fault]:
    for name in nodes:
        own = [way for way in outcomes if way.source == name == way.target]
        failed = tuple(way for way in own if not outcomes[way].passed)
        if failed:
            yield Fault(Kind.ITSELF, (name,), (), failed, outcomes[failed[0]].cause)


class _Attribution:
    def __init__(self, nodes: Sequence[str], outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        tried = {(w.source, w.target): w for w in outcomes if w.door == "ephemeral"}
        self._order = tuple(nodes)
        self._nodes = [n for n in nodes if any(n in pair for pair in tried)]
        self._main = nodes[0]
        self._tried: Pairs = frozenset(tried)
        self._bad: Pairs = frozenset(p for p, way in tried.items() if not outcomes[way].passed)

    def faults(self) -> list[Fault]:
        return [*self._between_nodes(), *self._main_port(), *self._translated()]

    def _between_nodes(self) -> list[Fault]:
        """Explain why ephemeral ports are not reached."""
        groups = self._groups()
        if self._bad and len(groups) == len(self._nodes):
            culprit = self._culprit()
            if culprit is not None:
                return [self._fault(Kind.CUT_OFF, [culprit], self._bad)]
            return [self._fault(Kind.EVERYONE, self._nodes, self._bad)]
        found, covered = [], set[Pair]()
        for group in groups[1:]:
            pairs = {pair for pair in self._bad if len({*pair} & {*group}) == 1}
            covered |= pairs
            if pairs:
                found.append(
                    self._fault(Kind.CUT_OFF if len(group) == 1 else Kind.BLOCKS, group, pairs)
                )
        return found + self._one_way(frozenset(covered))

    def _groups(self) -> list[list[str]]:
        """Return the nodes that reach each other, by whatever way; the largest group first, then main's."""
        group = {node: {node} for node in self._nodes}
        for source, target in self._tried - self._bad:
            if group[source] is not group[target]:
                group[source] |= group[target]
                for node in group[target]:
                    group[node] = group[source]
        unique = {id(members): members for members in group.values()}.values()
        ordered = sorted(unique, key=lambda members: (-len(members), self._main not in members))
        return [[node for node in self._nodes if node in members] for members in ordered]

    def _culprit(self) -> str | None:
        """Return the one node that can be the reason for all failures, as far as outcomes tell."""
        possible = set(self._nodes)
        for pair in self._bad:
            possible &= self._possible(pair)
        return possible.pop() if len(possible) == 1 else None

    def _possible(self, pair: Pair) -> set[str]:
        """Return which ends of a failure may be its reason."""
        source, target = pair
        if self._passes_by_main_port(pair):
            return {target}  # the source gets out and the target is there
        side = self._outcomes[Way(source, target, "ephemeral")].side
        return {source, target} if side is None else {source if side == "source" else target}

    def _passes_by_main_port(self, pair: Pair) -> bool:
        outcome = self._outcomes.get(Way(*pair, "main"))
        return outcome is not None and outcome.passed

    def _one_way(self, covered: Pairs) -> list[Fault]:
        """Explain what is left: rows and columns of failures first, the largest before the others."""
        tried, left = self._tried - covered, set(self._bad - covered)
        chosen: list[tuple[Kind, str, Pairs]] = []
        while left:
            best = max(self._candidates(tried, left), key=lambda c: len(c[2] & left), default=None)
            if best is None:
                break
            chosen.append(best)
            left -= best[2]
        needed = list(chosen)
        for candidate in chosen:
            others = frozenset[Pair]().union(*(c[2] for c in needed if c is not candidate))
            if candidate[2] <= others:
                needed.remove(candidate)
        return [*(self._row(*candidate) for candidate in needed), *self._pairs(left)]

    def _candidates(self, tried: Pairs, left: set[Pair]) -> list[tuple[Kind, str, Pairs]]:
        """Return the rows and columns that failed altogether; a filter for what comes in is likelier."""
        found = []
        for kind, end in ((Kind.INBOUND, 1), (Kind.EGRESS, 0)):
            for node in self._nodes:
                pairs = frozenset(pair for pair in tried if pair[end] == node)
                guilty = [node in self._possible(pair) for pair in pairs if pair in self._bad]
                if pairs & left and pairs <= self._bad and 2 * sum(guilty) > len(guilty):
                    found.append((kind, node, pairs))
        return found

    def _row(self, kind: Kind, node: str, pairs: Pairs) -> Fault:
        if len(pairs) == 1:
            ((source, target),) = pairs
            alone = {target if kind is Kind.INBOUND else source}
            if self._possible((source, target)) != alone:
                return self._fault(Kind.EITHER, [target], pairs, [source])
        return self._fault(kind, [node], pairs)

    def _pairs(self, pairs: Iterable[Pair]) -> list[Fault]:
        sources: dict[str, set[str]] = {}
        for source, target in pairs:
            sources.setdefault(target, set()).add(source)
        targets: dict[frozenset[str], list[str]] = {}
        for target in filter(sources.__contains__, self._nodes):
            targets.setdefault(frozenset(sources[target]), []).append(target)
        return [
            self._fault(Kind.PAIRS, names, {(s, t) for s in peers for t in names}, peers)
            for peers, names in targets.items()
        ]

    def _main_port(self) -> list[Fault]:
        """Explain why the main port is not reached by those who reach main otherwise."""
        ways = [way for way, outcome in self._outcomes.items() if way.door == "main"]
        stopped = [
            way
            for way in ways
            if not self._outcomes[way].passed and (way.source, way.target) not in self._bad
        ]
        if not stopped:
            return []
        peers = self._in_order(way.source for way in stopped)
        return [
            Fault(Kind.MAIN_PORT, (stopped[0].target,), peers, tuple(stopped), self._most(stopped))
        ]

    def _translated(self) -> list[Fault]:
        ways = [way for way, outcome in self._outcomes.items() if outcome.translated]
        if not ways:
            return []
        nodes = self._in_order(way.source for way in ways)
        peers = self._in_order(way.target for way in ways)
        return [Fault(Kind.TRANSLATED, nodes, peers, tuple(ways), Cause.PASSED)]

    def _fault(
        self, kind: Kind, nodes: Iterable[str], pairs: Iterable[Pair], peers: Iterable[str] = ()
    ) -> Fault:
        pairs = sorted(pairs)
        own = tuple(nodes)
        into_main = [pair for pair in pairs if pair[1] == self._main]
        ways = [Way(source, target, "ephemeral") for source, target in pairs]
        return Fault(
            kind,
            own,
            self._in_order(peers or {node for pair in pairs for node in pair} - set(own)),
            tuple(ways),
            self._most(self._telling(ways)),
            bool(into_main) and all(map(self._passes_by_main_port, into_main)),
        )

    def _telling(self, ways: Sequence[Way]) -> Sequence[Way]:
        """Return the attempts that say most: what hears no answer may be a consequence of another's."""
        own = [way for way in ways if self._outcomes[way].side == "source"]
        in_vain = [w for w in ways if self._outcomes[w].cause is Cause.UNKNOWN_NEIGHBOUR]
        return own or in_vain or ways

    def _most(self, ways: Iterable[Way]) -> Cause:
        return Counter(self._outcomes[way].cause for way in ways).most_common(1)[0][0]

    def _in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        return tuple(node for node in self._order if node in wanted)
