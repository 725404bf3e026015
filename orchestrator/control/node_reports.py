"""The ranks and the supervisor of one node of a run, as the node reports them."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator import events
from orchestrator.errors import NodeError
from orchestrator.logs.stream import Stream
from orchestrator.plan import NodePlan
from orchestrator.remote.reports import LeftBehind, RankReport, StatusReport
from orchestrator.runs.record import Record

_MAX_CHANGES = 10_000  # reported by a node, plus
_MAX_CHANGES_PER_RANK = 1_000  # for each rank: a launcher may restart it that often

_ABSENT = StatusReport("absent", None, ())


class NodeReports:
    """Checks the reports of a node and keeps the latest; `on_change` is called for each change."""

    def __init__(
        self, plan: NodePlan, record: Record, emit: events.Emit, on_change: Callable[[], None]
    ) -> None:
        self._node = plan.name
        self._plan = plan
        self._record = record
        self._is_elastic = record.plan.elastic is not None
        self._known_ranks = range(record.plan.world_size) if self._is_elastic else plan.ranks
        self._emit = emit
        self._on_change = on_change
        self._streams: dict[str, Stream] = {}
        self._has_foreign = False
        self._changes_left = _MAX_CHANGES + _MAX_CHANGES_PER_RANK * len(plan.ranks)
        self.ranks: dict[int, RankReport] = {}
        self.status: StatusReport | None = None
        self.heard_at = time.monotonic()
        """When the node last reported anything new (time.monotonic)."""

    def note_heard(self) -> None:
        self.heard_at = time.monotonic()

    def note_status(self, report: StatusReport) -> None:
        """Process a report about the supervisor."""
        if report.attempt is not None and report.attempt < self._record.attempt:
            report = _ABSENT  # an earlier attempt ended there, and this one has not started
        if report == self.status:
            return
        known = self.status.behind if self.status is not None else None
        if report.behind is not None and report.behind != known:
            self._warn(f"{self._node}: {_leftover(report.behind, self._record.plan.run)}")
        self.status = report
        self._note_change()

    def note_rank(self, report: RankReport) -> None:
        """Process a report about a rank."""
        if self._changes_left == 0 or report.attempt < self._record.attempt:
            return
        if not self._is_assigned(report.rank):
            return
        # By local rank: in an elastic job, the previous rank there may have had another number.
        known = next(
            (rank for rank in self.ranks.values() if rank.local_rank == report.local_rank), None
        )
        is_same = known is not None and (known.attempt, known.pid) == (report.attempt, report.pid)
        if known is not None:
            is_older = (known.attempt, known.started) > (report.attempt, report.started)
            if is_older or (is_same and known.end == report.end):
                return  # repeated after reconnecting, or of an earlier attempt
            del self.ranks[known.rank]
        self.ranks[report.rank] = report
        if not is_same:
            self._emit(
                events.RankBegan(
                    report.rank, report.local_rank, self._node, report.attempt, report.pid,
                    report.started,
                )
            )  # fmt: skip
        if report.end is not None and report.ended is not None:
            end = report.end
            self._emit(
                events.RankEnded(report.rank, self._node, end.code, end.signal, report.ended)
            )
        self._note_change()

    def stream_of(self, path: str) -> Stream | None:
        """Return the stream of the node's file `path`, None if it belongs to another run.

        Raises NodeError for a path that no stream has.
        """
        if path in self._streams:
            return self._streams[path]
        try:
            stream = Stream.parse(self._node, path)
            if stream.rank is None:
                return stream
            if stream.attempt < self._record.attempt:
                return stream  # ranks may have had other numbers
            if not self._is_assigned(stream.rank):
                return None
            stream = Stream.parse(self._node, path, self._local_rank(stream.rank))
        except ValueError as error:
            raise NodeError(self._node, str(error)) from None
        if not self._is_elastic:
            self._streams[path] = stream
        return stream

    def _is_assigned(self, rank: int) -> bool:
        """Return whether the node may report `rank`; a script can put any file next to its logs."""
        if rank in self._known_ranks:
            return True
        if not self._has_foreign:
            self._has_foreign = True
            self._warn(f"{self._node}: ignoring rank {rank}, which is not assigned to it")
        return False

    def _local_rank(self, rank: int) -> int | None:
        """Return the local rank of a rank of this node, None while it is unknown."""
        if not self._is_elastic:
            return rank - self._plan.first_rank
        return self.ranks[rank].local_rank if rank in self.ranks else None

    def _note_change(self) -> None:
        self._on_change()
        if self._changes_left == 0:
            return  # endless reports must not keep a node alive forever
        self.note_heard()
        self._changes_left -= 1
        if self._changes_left == 0:
            self._warn(
                f"{self._node} reports more starts and ends than its ranks can have: ignoring the rest"
            )

    def _warn(self, message: str) -> None:
        self._emit(events.Warned(message))


def _leftover(behind: LeftBehind, run: str) -> str:
    """Return the message about processes that ranks left running."""
    names = ", ".join(f"{pid} ({name})" for pid, name in behind.processes)
    processes = f"process{'es' if len(behind.processes) > 1 else ''} {names}"
    if behind.ended:
        return f"ended {processes}, which the ranks had left running (--linger {behind.limit:g})"
    return (
        f"the ranks have succeeded and left {processes} running: waiting up to {behind.limit:g} s for that "
        f"(--linger); `orch stop {run}` ends it now"
    )
