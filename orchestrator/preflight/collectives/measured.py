"""What a trial came to, from what all its ranks told: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from orchestrator.plan import Plan
from orchestrator.preflight.collectives.task import (
    AllReduced,
    Done,
    Exchanged,
    Joined,
    Summed,
    Task,
)
from orchestrator.preflight.collectives.trial import Share
from orchestrator.preflight.interfaces.tournament import Pair

_MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    """What a trial came to.

    `sizes` are the all_reduces. `pairs` has, by the positions of two nodes, the bytes a second that they
    exchanged in each direction at the same time; `again` that of those that were tried once more.
    `wrong` has, by node, the ranks whose sum was wrong, `absent` those that never joined. `complete`
    tells whether every rank has done everything.
    """

    backend: ClassVar[str]
    byte_sizes: ClassVar[tuple[int, ...]]

    world_size: int = 0
    shares: tuple[Share, ...] = ()
    sizes: tuple[AllReduced, ...] = ()
    pairs: Mapping[Pair, float] = field(default_factory=dict)
    again: Mapping[Pair, float] = field(default_factory=dict)
    wrong: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    absent: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    complete: bool = False

    @property
    def rates(self) -> dict[tuple[str, str], float]:
        """The bytes a second by (from, to), the better of both times, where it was tried."""
        names = [share.node for share in self.shares]
        best = self.best
        return {(names[a], names[b]): best[pair] for pair in best for a, b in (pair, pair[::-1])}

    @property
    def best(self) -> dict[Pair, float]:
        """The better of both times: what was slow once may have been busy."""
        both = {pair: max(self.pairs.get(pair, 0.0), rate) for pair, rate in self.again.items()}
        return {**self.pairs, **both}

    @classmethod
    def collect(cls, plan: Plan, task: Task, shares: Sequence[Share]) -> Self:
        """Return what the `shares` of `plan` tell of `task`; what a rank has no part in is left out."""
        words = [word for share in shares for word in share.words]
        ranks = set(range(plan.world_size))
        sizes = tuple(
            w for w in words if isinstance(w, AllReduced) and w.rank == 0 and w.size in task.sizes
        )
        sums = {(w.rank, w.size) for w in words if isinstance(w, Summed)}
        return cls(
            world_size=plan.world_size,
            shares=tuple(shares),
            sizes=sizes,
            pairs=_pairs(plan, task, [w for w in words if isinstance(w, Exchanged)]),
            wrong=_by_node(plan, {w.rank for w in words if isinstance(w, Summed) and not w.right}),
            absent=_by_node(plan, ranks - {w.rank for w in words if isinstance(w, Joined)}),
            complete=ranks == {w.rank for w in words if isinstance(w, Done)}
            and len(sizes) > 0
            and sums >= {(rank, done.size) for rank in ranks for done in sizes},
        )


def _by_node(plan: Plan, ranks: set[int]) -> dict[str, tuple[int, ...]]:
    """Return the `ranks` that each node has, without the nodes that have none of them."""
    found = {node.name: tuple(rank for rank in node.ranks if rank in ranks) for node in plan.nodes}
    return {name: own for name, own in found.items() if own}


def _pairs(plan: Plan, task: Task, words: Sequence[Exchanged]) -> dict[Pair, float]:
    """Return the bytes a second of each pair: the best trial of the slower of the two.

    The best, for whatever else the machines do can only make one slower than its link.
    """
    leaders = {node.first_rank: node.node_rank for node in plan.nodes}
    asked = {pair for pairs in task.rounds for pair in pairs}
    told: dict[Pair, dict[int, float]] = {}
    for word in words:
        node = leaders.get(word.rank)
        if word.pair in asked and node in word.pair:
            told.setdefault(word.pair, {})[word.rank] = word.size / min(word.seconds)
    return {pair: min(by.values()) for pair, by in told.items() if len(by) == len(pair)}


class Gloo(Measured):
    """The trial on the CPUs, one rank a node."""

    backend = "gloo"
    byte_sizes = (_MIB, 32 * _MIB)


class Nccl(Measured):
    """The trial on the GPUs, with the job's own number of ranks a node."""

    backend = "nccl"
    byte_sizes = (_MIB, 64 * _MIB, 1024 * _MIB)
