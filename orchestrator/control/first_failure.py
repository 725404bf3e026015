"""What failed first, from what the nodes reported about their ranks (no I/O)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchestrator.node.reasons import UNASKED
from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport

_CLOCK_TOLERANCE = 0.1  # seconds by which measured clock skews may be wrong

DEAD = {
    "lost": "lost its supervisor: it was killed, or the node has restarted",
    "absent": "has no files of this run",
}
"""How a node failed, by its state, if it was not asked to stop."""


@dataclass(frozen=True)
class NodeState:
    """The latest reports of one node: its supervisor, its ranks, and how far its clock is ahead.

    Times are by the node's clock. `stopped_at` is when it was asked to stop or stopped by itself, None if
    neither; `swept_at` is when the processes that a dead supervisor had left were killed. `gone` is why the
    node counts as failed although it reports nothing.
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
        """Whether its supervisor stopped without a request from a controller."""
        stop = self.status.stopped if self.status is not None else None
        return stop is not None and stop.reason in UNASKED

    @property
    def failed_launcher(self) -> ProcessEnd | None:
        """How its launcher failed: before a stop, without ranks or while ranks were alive; else None."""
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
        """When its launcher was killed while ranks were alive; no failure of a rank kills a launcher."""
        end = self.failed_launcher
        if end is None or end.signal is None or not self.ranks or self.status is None:
            return None
        return self.status.launcher_ended

    @property
    def ranks_stopped_at(self) -> float | None:
        """When its ranks began to end because they were stopped; None if they were not."""
        orders = (self.stopped_at, self.swept_at, self.lost_launcher_at)
        return min((at for at in orders if at is not None), default=None)


@dataclass(frozen=True)
class FirstFailure:
    """What failed first: a rank, or (`rank` is None) a launcher or a whole node.

    If the whole node failed, `end` is None and `why` says how.
    """

    node: str
    rank: int | None
    end: ProcessEnd | None
    why: str = ""


SelfReport = Literal["own", "others", ""]
"""The cause that the output of a rank reports: its own error, the loss of other ranks, or nothing."""

ReadSelfReport = Callable[[NodeState, RankReport], SelfReport]


def no_self_report(node: NodeState, rank: RankReport) -> SelfReport:
    """Return that the output of the rank is unknown."""
    return ""


def find_first_failure(
    nodes: Sequence[NodeState],
    self_report: ReadSelfReport = no_self_report,
    *,
    before: float | None = None,
) -> FirstFailure | None:
    """Return the first failure by time across nodes that no other one caused; None if there is none.

    A rank that ended after its node was asked to stop or its launcher was killed is a victim. So is what
    did not fail clearly `before` this time, when the first node was stopped without a failure. A failure
    that a launcher answered with a restart does not count. Other failures of a launcher count only if no
    rank failed, since a launcher fails after its ranks.

    Ranks that lost others may end before those: a process first closes its connections and then takes a
    while to end. So a rank that reports the loss of others (`self_report`) is the first failure only if
    there is no other candidate: no other failure, no node that is gone or has lost its supervisor, no rank
    that was stopped during a failure of its own, and no launcher that failed while its ranks were alive.
    """
    failures = _failures(nodes)
    by_themselves = [
        failure
        for failure in failures
        if (failure.limit is None or failure.ended <= failure.limit)
        and (before is None or failure.at < before - _CLOCK_TOLERANCE)
    ]
    for failure in by_themselves:
        if failure.report(self_report) != "others":
            return failure.first
    if by_themselves:
        gone = _first_gone(nodes) or _first_dead(nodes)
        if gone is not None:
            return gone
        for failure in failures:
            if failure not in by_themselves and failure.report(self_report) == "own":
                return failure.first
        return _first_launcher(nodes) or by_themselves[0].first
    # What was connected to it fails after it.
    return _first_gone(nodes) or _first_launcher(nodes) or _first_dead(nodes)


class _Failure(NamedTuple):
    """A rank that failed, or (`rank` is None) a launcher that was killed.

    `at` is by the controller's clock; `ended` is by its node's, as is the `limit` after which the rank was
    stopped. `first` is the result if it failed first.
    """

    at: float
    ended: float
    limit: float | None
    node: NodeState
    rank: RankReport | None
    first: FirstFailure

    def report(self, self_report: ReadSelfReport) -> SelfReport:
        return "own" if self.rank is None else self_report(self.node, self.rank)


def _failures(nodes: Sequence[NodeState]) -> list[_Failure]:
    """Return the failures in each node's last attempt, in order of time; a launcher before its ranks."""
    found = [failure for node in nodes for failure in (*_lost_launcher(node), *_failed_ranks(node))]
    return sorted(
        found, key=lambda failure: (failure.at, failure.rank.rank if failure.rank else -1)
    )


def _failed_ranks(node: NodeState) -> Iterator[_Failure]:
    last = max((rank.attempt for rank in node.ranks.values()), default=0)
    limit = node.ranks_stopped_at
    for rank in node.ranks.values():
        if rank.end is None or rank.ended is None or rank.end.succeeded or rank.attempt != last:
            continue
        first = FirstFailure(node.name, rank.rank, rank.end)
        yield _Failure(rank.ended - node.clock_skew, rank.ended, limit, node, rank, first)


def _lost_launcher(node: NodeState) -> Iterator[_Failure]:
    ended, end = node.lost_launcher_at, node.failed_launcher
    if ended is not None:
        first = FirstFailure(node.name, None, end)
        yield _Failure(ended - node.clock_skew, ended, None, node, None, first)


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
