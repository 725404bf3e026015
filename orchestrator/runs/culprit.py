"""What failed first, from what the nodes reported of their ranks: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport

_CLEARLY = 0.1  # seconds: clocks are known no better

DEAD = {
    "lost": "lost its supervisor: it was killed, or the node has restarted",
    "absent": "has nothing of this run (any more)",
}
"""What is said of a node in these states, though it was not told to stop."""


@dataclass(frozen=True)
class NodeState:
    """The last that is known of one node: its supervisor, its ranks, and how far its clock is ahead.

    `stopped_at` is when it was told to stop, or did so by itself (the node's clock), None if it was not.
    `gone` says why it counts as failed though nothing is heard of it.
    """

    name: str
    ranks: Mapping[int, RankReport]
    status: StatusReport | None
    clock_skew: float = 0.0
    stopped_at: float | None = None
    gone: str | None = None


@dataclass(frozen=True)
class Culprit:
    """What failed first: a rank, or (rank None) a launcher before any rank did.

    Where it is the whole node that failed, `end` is None and `why` says how.
    """

    node: str
    rank: int | None
    end: ProcessEnd | None
    why: str = ""


Account = Literal["own", "others", ""]
"""What a rank's own words blame for its end: something of its own, the loss of others, or nothing."""

Hear = Callable[[NodeState, RankReport], Account]


def unheard(node: NodeState, rank: RankReport) -> Account:
    """Nobody has asked what the rank says."""
    return ""


def find_culprit(
    nodes: Sequence[NodeState], hear: Hear = unheard, *, before: float | None = None
) -> Culprit | None:
    """Return what failed first by itself, in the order of time across nodes; None while nothing did.

    A rank that ended after its node was told to stop is a victim, and so is one that did not fail clearly
    `before` this moment, when the first of all nodes was stopped though nothing had failed. What a
    launcher has started again is forgiven. A launcher's own failure only counts where no rank failed, for
    it fails after them.

    Those who lost others may end sooner than whom they lost: a process closes its connections first, and
    then takes a while to end. So a rank that blames others, as `hear` has it, only is the first where
    there is nobody else: no rank that failed otherwise, no node that is gone, none of those that were
    stopped in the middle of a failure of their own, and no launcher whose ranks live.
    """
    failures = _failures(nodes)
    by_themselves = [
        failure
        for failure in failures
        if (failure.node.stopped_at is None or failure.ended <= failure.node.stopped_at)
        and (before is None or failure.at < before - _CLEARLY)
    ]
    if by_themselves:
        for failure in by_themselves:
            if hear(failure.node, failure.rank) != "others":
                return failure.culprit
        gone = _first_gone(nodes)
        if gone is not None:
            return gone
        for failure in failures:
            if failure not in by_themselves and hear(failure.node, failure.rank) == "own":
                return failure.culprit
        return _first_launcher(nodes) or by_themselves[0].culprit
    first = _first_gone(nodes) or _first_launcher(nodes)  # who was connected to it fails after it
    if first is not None:
        return first
    for node in nodes:
        if node.stopped_at is None and node.status is not None and node.status.state in DEAD:
            return Culprit(node.name, None, None, DEAD[node.status.state])
    return None


class _Failure(NamedTuple):
    """A rank that failed: `at` is by the controller's clock, `ended` by its node's."""

    at: float
    ended: float
    node: NodeState
    rank: RankReport
    culprit: Culprit


def _failures(nodes: Sequence[NodeState]) -> list[_Failure]:
    """Return what failed of each node's last attempt, in the order of time."""
    last = {
        node.name: max((rank.attempt for rank in node.ranks.values()), default=0) for node in nodes
    }
    failures = [
        _Failure(
            rank.ended - node.clock_skew,
            rank.ended,
            node,
            rank,
            Culprit(node.name, rank.rank, rank.end),
        )
        for node in nodes
        for rank in node.ranks.values()
        if rank.end is not None
        and rank.ended is not None
        and not rank.end.succeeded
        and rank.attempt == last[node.name]
    ]
    return sorted(failures, key=lambda failure: (failure.at, failure.rank.rank))


def _first_launcher(nodes: Sequence[NodeState]) -> Culprit | None:
    for node in nodes:
        if node.stopped_at is None and node.status is not None and node.status.launcher is not None:
            unfinished = any(rank.end is None for rank in node.ranks.values())
            if not node.status.launcher.succeeded and (unfinished or not node.ranks):
                return Culprit(node.name, None, node.status.launcher)
    return None


def _first_gone(nodes: Sequence[NodeState]) -> Culprit | None:
    for node in nodes:
        if node.gone is not None:
            return Culprit(node.name, None, None, node.gone)
    return None
