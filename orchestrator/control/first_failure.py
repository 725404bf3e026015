"""What failed first, from what the nodes reported of their ranks: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchestrator.node.reasons import UNASKED
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

    Times are by the node's clock. `stopped_at` is when it was told to stop, or did so by itself, None if it
    was not; `swept_at` when what a dead supervisor had left there was killed. `gone` says why it counts as
    failed though nothing is heard of it.
    """

    name: str
    ranks: Mapping[int, RankReport]
    status: StatusReport | None
    clock_skew: float = 0.0
    stopped_at: float | None = None
    gone: str | None = None
    swept_at: float | None = None

    @property
    def has_stopped_unasked(self) -> bool:
        """Whether its supervisor stopped though no controller had told it to."""
        stop = self.status.stopped if self.status is not None else None
        return stop is not None and stop.reason in UNASKED

    @property
    def failed_launcher(self) -> ProcessEnd | None:
        """How its launcher failed, before it was told to stop and while ranks lived, or without any rank;
        None if it did not.
        """
        status = self.status
        if status is None or status.launcher is None or status.launcher.succeeded:
            return None
        at = status.launcher_ended
        if self.stopped_at is not None and (at is None or at > self.stopped_at):
            return None
        has_outlived = any(
            rank.ended is None or (at is not None and rank.ended > at)
            for rank in self.ranks.values()
        )
        return status.launcher if has_outlived or not self.ranks else None

    @property
    def lost_launcher_at(self) -> float | None:
        """When its launcher was killed while ranks lived: not even their failure ends one so."""
        end = self.failed_launcher
        if end is None or end.signal is None or not self.ranks or self.status is None:
            return None
        return self.status.launcher_ended

    @property
    def ordered_to_end_at(self) -> float | None:
        """From when on its ranks ended because they were made to; None if they were not."""
        orders = (self.stopped_at, self.swept_at, self.lost_launcher_at)
        return min((at for at in orders if at is not None), default=None)


@dataclass(frozen=True)
class FirstFailure:
    """What failed first: a rank, or (rank None) a launcher that failed by itself.

    Where it is the whole node that failed, `end` is None and `why` says how.
    """

    node: str
    rank: int | None
    end: ProcessEnd | None
    why: str = ""


SelfReport = Literal["own", "others", ""]
"""What a rank's own words blame for its end: something of its own, the loss of others, or nothing."""

ReadSelfReport = Callable[[NodeState, RankReport], SelfReport]


def no_self_report(node: NodeState, rank: RankReport) -> SelfReport:
    """Nobody has asked what the rank says."""
    return ""


def find_first_failure(
    nodes: Sequence[NodeState],
    hear: ReadSelfReport = no_self_report,
    *,
    before: float | None = None,
) -> FirstFailure | None:
    """Return what failed first by itself, in the order of time across nodes; None while nothing did.

    A rank that ended after its node was told to stop, or after its launcher was killed, is a victim, and
    so is what did not fail clearly `before` this moment, when the first of all nodes was stopped though
    nothing had failed. What a launcher has started again is forgiven. A launcher that failed otherwise only
    counts where no rank failed, for it fails after them.

    Those who lost others may end sooner than whom they lost: a process closes its connections first, and
    then takes a while to end. So a rank that blames others, as `hear` has it, only is the first where
    there is nobody else: nothing that failed otherwise, no node that is gone or has lost its supervisor,
    none of those that were stopped in the middle of a failure of their own, and no launcher that failed
    while its ranks lived.
    """
    failures = _failures(nodes)
    by_themselves = [
        failure
        for failure in failures
        if (failure.limit is None or failure.ended <= failure.limit)
        and (before is None or failure.at < before - _CLEARLY)
    ]
    for failure in by_themselves:
        if failure.account(hear) != "others":
            return failure.culprit
    if by_themselves:
        gone = _first_gone(nodes) or _first_dead(nodes)
        if gone is not None:
            return gone
        for failure in failures:
            if failure not in by_themselves and failure.account(hear) == "own":
                return failure.culprit
        return _first_launcher(nodes) or by_themselves[0].culprit
    # Who was connected to it fails after it.
    return _first_gone(nodes) or _first_launcher(nodes) or _first_dead(nodes)


class _Failure(NamedTuple):
    """A rank that failed, or (`rank` None) a launcher that was killed.

    `at` is by the controller's clock, `ended` by its node's, as is the `limit` after which the rank was
    made to end.
    """

    at: float
    ended: float
    limit: float | None
    node: NodeState
    rank: RankReport | None
    culprit: FirstFailure

    def account(self, hear: ReadSelfReport) -> SelfReport:
        return "own" if self.rank is None else hear(self.node, self.rank)


def _failures(nodes: Sequence[NodeState]) -> list[_Failure]:
    """Return what failed of each node's last attempt, in the order of time; a launcher before its ranks."""
    found = [failure for node in nodes for failure in (*_lost_launcher(node), *_failed_ranks(node))]
    return sorted(
        found, key=lambda failure: (failure.at, failure.rank.rank if failure.rank else -1)
    )


def _failed_ranks(node: NodeState) -> Iterator[_Failure]:
    last = max((rank.attempt for rank in node.ranks.values()), default=0)
    limit = node.ordered_to_end_at
    for rank in node.ranks.values():
        if rank.end is None or rank.ended is None or rank.end.succeeded or rank.attempt != last:
            continue
        culprit = FirstFailure(node.name, rank.rank, rank.end)
        yield _Failure(rank.ended - node.clock_skew, rank.ended, limit, node, rank, culprit)


def _lost_launcher(node: NodeState) -> Iterator[_Failure]:
    ended, end = node.lost_launcher_at, node.failed_launcher
    if ended is not None:
        culprit = FirstFailure(node.name, None, end)
        yield _Failure(ended - node.clock_skew, ended, None, node, None, culprit)


def _first_launcher(nodes: Sequence[NodeState]) -> FirstFailure | None:
    failed = [node for node in nodes if node.failed_launcher is not None]

    def ended(node: NodeState) -> float:
        at = node.status.launcher_ended if node.status is not None else None
        return 0.0 if at is None else at - node.clock_skew

    first = min(failed, key=ended, default=None)
    return None if first is None else FirstFailure(first.name, None, first.failed_launcher)


def _first_gone(nodes: Sequence[NodeState]) -> FirstFailure | None:
    for node in nodes:
        if node.gone is not None:
            return FirstFailure(node.name, None, None, node.gone)
    return None


def _first_dead(nodes: Sequence[NodeState]) -> FirstFailure | None:
    for node in nodes:
        if node.stopped_at is None and node.status is not None and node.status.state in DEAD:
            return FirstFailure(node.name, None, None, DEAD[node.status.state])
    return None
