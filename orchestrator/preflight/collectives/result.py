"""The result of a trial, from the messages of all its ranks: pure."""

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
class Result:
    """The result of a trial.

    `sizes` are the all_reduces. `pairs` has, by the positions of two nodes, the bytes per second that they
    exchanged in each direction at the same time; `retested` that of those that were measured again.
    `wrong` has, by node, the ranks that got a wrong sum, `missing` those that never joined. `complete` is
    whether every rank has done everything.
    """

    backend: ClassVar[str]
    byte_sizes: ClassVar[tuple[int, ...]]

    world_size: int = 0
    shares: tuple[Share, ...] = ()
    sizes: tuple[AllReduced, ...] = ()
    pairs: Mapping[Pair, float] = field(default_factory=dict)
    retested: Mapping[Pair, float] = field(default_factory=dict)
    wrong: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    missing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    complete: bool = False

    @property
    def rates(self) -> dict[tuple[str, str], float]:
        """The bytes per second by (from, to), the better of both times, if it was measured."""
        names = [share.node for share in self.shares]
        best = self.best.items()
        return {(names[a], names[b]): rate for pair, rate in best for a, b in (pair, pair[::-1])}

    @property
    def best(self) -> dict[Pair, float]:
        """The better of both times, since a node may have been busy once."""
        retested = self.retested.items()
        return {**self.pairs, **{p: max(self.pairs.get(p, 0.0), rate) for p, rate in retested}}

    @classmethod
    def collect(cls, plan: Plan, task: Task, shares: Sequence[Share]) -> Self:
        """Return the result of the `shares` of `plan`; what a rank reports of others is left out."""
        messages = [message for share in shares for message in share.messages]
        ranks = set(range(plan.world_size))
        sums = [each for each in messages if isinstance(each, Summed)]
        sizes = tuple(
            each
            for each in messages
            if isinstance(each, AllReduced) and each.rank == 0 and each.size in task.sizes
        )
        joined, done = (
            {each.rank for each in messages if isinstance(each, kind)} for kind in (Joined, Done)
        )
        expected = {(rank, each.size) for rank in ranks for each in sizes}
        return cls(
            world_size=plan.world_size,
            shares=tuple(shares),
            sizes=sizes,
            pairs=_pairs(plan, task, [each for each in messages if isinstance(each, Exchanged)]),
            wrong=_by_node(plan, {each.rank for each in sums if not each.right}),
            missing=_by_node(plan, ranks - joined),
            complete=done == ranks
            and len(sizes) > 0
            and {(each.rank, each.size) for each in sums} >= expected,
        )


def _by_node(plan: Plan, ranks: set[int]) -> dict[str, tuple[int, ...]]:
    """Return the `ranks` of each node, without the nodes that have none of them."""
    found = {node.name: tuple(rank for rank in node.ranks if rank in ranks) for node in plan.nodes}
    return {name: own for name, own in found.items() if own}


def _pairs(plan: Plan, task: Task, messages: Sequence[Exchanged]) -> dict[Pair, float]:
    """Return the bytes per second of each pair: the best trial of the slower of the two.

    The best, because other work of the machines can only make one slower than its link.
    """
    leaders = {node.first_rank: node.node_rank for node in plan.nodes}
    asked = {pair for pairs in task.rounds for pair in pairs}
    rates: dict[Pair, dict[int, float]] = {}
    for each in messages:
        if each.pair in asked and leaders.get(each.rank) in each.pair:
            rates.setdefault(each.pair, {})[each.rank] = each.size / min(each.seconds)
    return {pair: min(own.values()) for pair, own in rates.items() if len(own) == len(pair)}


class Gloo(Result):
    """The trial on the CPUs, one rank per node."""

    backend = "gloo"
    byte_sizes = (_MIB, 32 * _MIB)


class Nccl(Result):
    """The trial on the GPUs, with the job's own number of ranks per node."""

    backend = "nccl"
    byte_sizes = (_MIB, 64 * _MIB, 1024 * _MIB)
