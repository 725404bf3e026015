"""Pairs of nodes: who meets whom without anybody being in two places at once, and who is slow.

Nodes are numbers from 0, values are speeds of any kind: higher is better.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Pair = tuple[int, int]
"""Two different nodes, the lower number first."""

Round = tuple[Pair, ...]
"""Pairs that may meet at the same time: no node is in two of them."""

SLOW, VERY_SLOW = 0.85, 0.3
"""The shares of what the others reach below which one is slow, and a job waits for it most of the time."""


@dataclass(frozen=True)
class Suspects:
    """Nodes that are slow with everybody, and pairs that are slow though both nodes are not."""

    nodes: tuple[int, ...] = ()
    pairs: tuple[Pair, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nodes or self.pairs)


def rounds(n: int, most: int = 16) -> list[Round]:
    """Return the rounds in which each of `n` nodes meets every other exactly once.

    These are n - 1 rounds (n for an odd n, each without one node), by the circle method: one node
    stands still, the others move on by one. Of more than `most`, that many are returned: each node
    still meets as many others.
    """
    # Of an odd number, who meets the last one rests.
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
    """Return who is below `share` of what is usual.

    A node is held, by the best of its pairs, against the median of all nodes' best: a median over
    pairs would call a slow node usual where there are three, two of whose pairs are its own. A pair
    is held against the median of the pairs in which no slow node is.
    """
    best = _best(values)
    least = share * median(best.values()) if best else 0.0
    nodes = tuple(sorted(node for node, value in best.items() if value < least))
    others = {pair: value for pair, value in values.items() if not set(pair) & set(nodes)}
    least = share * median(others.values()) if others else 0.0
    return Suspects(nodes, tuple(sorted(p for p, v in others.items() if v < least)))


def typical(values: Mapping[tuple[int, int], float], slow: Suspects = Suspects()) -> float:
    """Return the median of the pairs, or ways, in which nothing is slow; 0 for none at all."""
    well = [
        value
        for way, value in values.items()
        if pair_of(*way) not in slow.pairs and not set(way) & set(slow.nodes)
    ]
    return median(well or values.values() or [0.0])


def blame(bad: Collection[Pair], tried: Collection[Pair]) -> Suspects:
    """Return the nodes that are bad in all pairs in which they were tried, and the bad pairs of others."""
    ways: dict[int, list[bool]] = {}
    for pair in tried:
        for node in pair:
            ways.setdefault(node, []).append(pair in bad)
    nodes = tuple(sorted(node for node, own in ways.items() if all(own)))
    return Suspects(nodes, tuple(sorted(pair for pair in bad if not set(pair) & set(nodes))))


def retest(suspects: Suspects, values: Mapping[Pair, float], most: int = 4) -> list[Round]:
    """Return rounds that try the suspects again: a node with a good partner, a pair as it is.

    What has no place in `most` rounds is left out, the fastest of them first.
    """
    best = _best(values)
    accused = {node for pair in suspects.pairs for node in pair}
    good = sorted(
        (node for node in best if node not in suspects.nodes),
        key=lambda node: (node in accused, -best[node]),
    )
    waiting: list[int | Pair] = [
        *sorted(suspects.nodes, key=best.__getitem__),
        *sorted(suspects.pairs, key=values.__getitem__),
    ]
    found: list[Round] = []
    while waiting and len(found) < most:
        chosen = dict(_choose(waiting, good))
        if not chosen:
            break  # nobody is good enough to be a partner
        found.append(tuple(chosen.values()))
        waiting = [one for one in waiting if one not in chosen]
    return found


def _choose(
    waiting: Sequence[int | Pair], good: Sequence[int]
) -> Iterator[tuple[int | Pair, Pair]]:
    """Yield some of those who wait, each with the pair to try it in, for one round."""
    busy: set[int] = set()
    for one in waiting:
        if isinstance(one, tuple):
            pair = one
        else:
            partner = next((node for node in good if node not in busy), None)
            if partner is None:
                continue
            pair = pair_of(one, partner)
        if not busy & set(pair):
            busy |= set(pair)
            yield one, pair


def _best(values: Mapping[Pair, float]) -> dict[int, float]:
    """Return the best value of each node."""
    best: dict[int, float] = {}
    for pair, value in values.items():
        for node in pair:
            best[node] = max(value, best.get(node, value))
    return best
