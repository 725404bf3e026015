"""A round-robin tournament between nodes, and which nodes and pairs of nodes are slow in it.

Nodes are numbers from 0, values are speeds of any kind: higher is better.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Pair = tuple[int, int]
"""Two different nodes, the lower number first."""

Round = tuple[Pair, ...]
"""Pairs that can be measured at the same time: no node is in two of them."""

SLOW, VERY_SLOW = 0.85, 0.3
"""Shares of what the others reach: below the first a node is slow, below the second a job mostly waits."""


@dataclass(frozen=True)
class Suspects:
    """Nodes that are slow with every other, and slow pairs of nodes that are not."""

    nodes: tuple[int, ...] = ()
    pairs: tuple[Pair, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nodes or self.pairs)

    def ends(self, pairs: Collection[Pair]) -> Iterator[tuple[int, int | None, list[Pair]]]:
        """Yield (node, None, its `pairs`) for each node, (node, peer, [pair]) for both of each pair."""
        for node in self.nodes:
            yield node, None, [pair for pair in pairs if node in pair]
        for pair in self.pairs:
            for node, peer in (pair, pair[::-1]):
                yield node, peer, [pair]


def rounds(n: int, most: int = 16) -> list[Round]:
    """Return rounds in which each of `n` nodes meets every other exactly once.

    These are n - 1 rounds (n for an odd n, each without one node), by the circle method: one node stays
    in place, the others move on by one. At most `most` rounds are returned.
    """
    # With an odd number of nodes, the one that meets number n has no partner.
    circle = list(range(n + n % 2)) if n > 1 else []
    found = []
    for _ in range(min(len(circle) - 1, most)):
        half = len(circle) // 2
        pairs = zip(circle[:half], reversed(circle[half:]), strict=True)
        found.append(tuple(pair_of(a, b) for a, b in pairs if max(a, b) < n))
        circle = [circle[0], circle[-1], *circle[1:-1]]
    return found


def pair_of(a: int, b: int) -> Pair:
    """Return the pair of two nodes."""
    return (a, b) if a < b else (b, a)


def slow(values: Mapping[Pair, float], share: float = SLOW) -> Suspects:
    """Return the nodes and pairs below `share` of what is usual.

    A node is compared by the best of its pairs, with the median of all nodes' best. (With three nodes, two
    of the three pairs contain the slow one: a median over pairs would be its own.) A pair is compared with
    the median of the pairs without a slow node.
    """
    best = _best(values)
    least = share * median(best.values()) if best else 0.0
    nodes = tuple(sorted(node for node, value in best.items() if value < least))
    others = {pair: value for pair, value in values.items() if not set(pair) & set(nodes)}
    least = share * median(others.values()) if others else 0.0
    return Suspects(nodes, tuple(sorted(p for p, v in others.items() if v < least)))


def typical(values: Mapping[tuple[int, int], float], slow: Suspects = Suspects()) -> float:
    """Return the median of the pairs, or ways, without a suspect; 0 if there are none at all."""
    well = [
        value
        for way, value in values.items()
        if pair_of(*way) not in slow.pairs and not set(way) & set(slow.nodes)
    ]
    return median(well or values.values() or [0.0])


def localize(bad: Collection[Pair], tried: Collection[Pair]) -> Suspects:
    """Return the nodes that are bad in all pairs tried with them, and the other bad pairs."""
    good = {node for pair in set(tried) - set(bad) for node in pair}
    nodes = {node for pair in tried for node in pair} - good
    pairs = sorted(pair for pair in bad if not nodes & set(pair))
    return Suspects(tuple(sorted(nodes)), tuple(pairs))


def retest(suspects: Suspects, values: Mapping[Pair, float], most: int = 4) -> list[Round]:
    """Return rounds that measure the suspects again: a node with a good partner, a pair as it is.

    At most `most` rounds are returned; the fastest suspects are left out first.
    """
    best = _best(values)
    in_slow_pairs = {node for pair in suspects.pairs for node in pair}
    good = sorted(
        (node for node in best if node not in suspects.nodes),
        key=lambda node: (node in in_slow_pairs, -best[node]),
    )
    waiting: list[int | Pair] = [
        *sorted(suspects.nodes, key=best.__getitem__),
        *sorted(suspects.pairs, key=values.__getitem__),
    ]
    found: list[Round] = []
    while waiting and len(found) < most:
        chosen = dict(_choose(waiting, good))
        if not chosen:
            break  # no node is good enough to be a partner
        found.append(tuple(chosen.values()))
        waiting = [one for one in waiting if one not in chosen]
    return found


def _choose(
    waiting: Sequence[int | Pair], good: Sequence[int]
) -> Iterator[tuple[int | Pair, Pair]]:
    """Yield some of the suspects, each with the pair to measure it in, for one round."""
    busy: set[int] = set()
    for one in waiting:
        if isinstance(one, tuple):
            pair: Pair | None = one
        else:
            pair = next((pair_of(one, node) for node in good if node not in busy), None)
        if pair is not None and not busy & set(pair):
            busy |= set(pair)
            yield one, pair


def _best(values: Mapping[Pair, float]) -> dict[int, float]:
    """Return the best value of each node."""
    best: dict[int, float] = {}
    for pair, value in values.items():
        for node in pair:
            best[node] = max(value, best.get(node, value))
    return best
