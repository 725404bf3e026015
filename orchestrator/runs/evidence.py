"""A run of orch's own: the copies of its logs, when each byte of them came, and how its ranks ended."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from orchestrator import events
from orchestrator.diagnose import Evidence, Exit, Source
from orchestrator.diagnose.read import Examination, Log
from orchestrator.errors import UsageError
from orchestrator.logs.index import IndexReader, stored_streams
from orchestrator.logs.stream import Stream
from orchestrator.runs.event_log import EventReader
from orchestrator.runs.folder import EVENTS
from orchestrator.runs.not_sent import with_reason
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.state import RankState, RunState, state_of
from orchestrator.runs.uneven import with_uneven

_OOM = "memory.oom-killer"


def logs_of(saved: SavedRun, attempt: int | None = None) -> tuple[Log, ...]:
    """Return what the ranks and launchers of an attempt printed, as far as this machine has it.

    None: the last attempt; where a launcher has started ranks again, each rank's last. Files are named
    as below `saved.logs`. Raises UsageError for an attempt that was not made.
    """
    streams = [stream for node in saved.nodes for stream in stored_streams(saved.logs, node.name)]
    there = sorted({stream.attempt for stream in streams} | {saved.attempt})
    if attempt is not None and attempt not in there:
        raise UsageError(
            f"--attempt {attempt}: run {saved.run} has no such attempt",
            remedy=f"it has {', '.join(map(str, there))}"
            if there[-1]
            else "it has attempt 0 alone",
        )
    first, last = _span(saved, attempt)
    newest = {s.rank: s.attempt for s in sorted(streams, key=lambda s: s.attempt)}

    def is_meant(stream: Stream) -> bool:
        if stream.rank is None:  # a launcher that starts ranks again writes on to the same file
            return first <= stream.attempt <= last
        meant = newest[stream.rank] if attempt is None else attempt
        return stream.attempt == meant >= first

    clocks: dict[str, _Clock] = {}
    logs = []
    for stream in sorted(filter(is_meant, streams), key=_order):
        path = saved.logs / stream.node / stream.path
        clock = clocks.setdefault(stream.node, _Clock(saved, stream.node))
        source = Source(
            f"{stream.node}/{stream.path}", stream.rank, stream.node, clock.of(stream.path)
        )
        logs.append(Log(source, path, path.stat().st_size))
    return tuple(logs)


def evidence_of(saved: SavedRun, attempt: int | None = None) -> Evidence:
    """Return how the attempt's ranks ended of their own, and what its verdict had from their nodes."""
    state, stopped = _state(saved, attempt)
    skews = saved.settings.skews
    is_last = attempt is None or attempt >= saved.attempt
    why = saved.verdict if is_last else None
    exits = []
    for rank in state.ranks.values():
        is_meant = rank.ended is not None and attempt in (None, rank.attempt)
        if not is_meant or rank.ended is None:
            continue
        ended = rank.ended - skews.get(rank.node, 0.0)
        is_first = why is not None and why.rank == rank.rank
        if ended <= stopped or is_first:
            exits.append(Exit(rank.rank, _code(rank), rank.node, rank.pid, ended, is_first))
    if why is not None and why.rank is None and (why.code or why.signal):
        exits.append(Exit(None, -why.signal if why.signal else why.code or 0, why.node, first=True))
    if why is None or why.signature != _OOM:
        return Evidence(tuple(exits))
    if why.oom_kills is not None:
        return Evidence(tuple(exits), oom_kills={why.node: why.oom_kills})
    return Evidence(tuple(exits), kernel_logs={why.node: [why.evidence.encode("utf-8", "replace")]})


def with_reasons(examined: Examination, saved: SavedRun) -> Examination:
    """Return the same, with what is known of the files of the run: which were not sent to a node, and which
    only some of them had when it began. Raises OrchError.
    """
    uneven = state_of(saved.folder).uneven
    nodes = {node.name: node for node in saved.nodes}
    first = saved.plan.nodes[0]
    hits = tuple(
        with_uneven(
            with_reason(hit, saved.settings.source, nodes.get(hit.first.place.node or "", first)),
            uneven,
        )
        for hit in examined.diagnosis.hits
    )
    return replace(examined, diagnosis=replace(examined.diagnosis, hits=hits))


def _span(saved: SavedRun, attempt: int | None) -> tuple[int, float]:
    """Return the numbers that the logs of the attempt may have, those of its restarted ranks too."""
    for failed in saved.failed:
        if attempt is not None and failed.number <= attempt <= failed.last:
            return failed.number, failed.last
    return saved.attempt, float("inf")


def _state(saved: SavedRun, attempt: int | None) -> tuple[RunState, float]:
    """Return what became of the attempt, and when it was told to stop (the controller's clock)."""
    _, last = _span(saved, attempt)
    state, stopped = RunState(), float("inf")
    for logged in EventReader(saved.folder / EVENTS).read():
        match logged.event:
            case events.Stopping():
                stopped = min(stopped, logged.at)
            case events.Restarting():
                if any(rank.attempt >= last for rank in state.ranks.values()):
                    break
                stopped = float("inf")
        state.take(logged)
    return state, stopped


def _code(rank: RankState) -> int:
    return -rank.signal if rank.signal is not None else rank.code or 0


def _order(stream: Stream) -> tuple[float, str, str]:
    return (float("inf") if stream.rank is None else stream.rank, stream.node, stream.path)


@dataclass
class _Times:
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    times: array[float] = field(default_factory=lambda: array("d"))


class _Clock:
    """When a node's bytes came, by this machine's clock; its index is read when that is first asked."""

    def __init__(self, saved: SavedRun, node: str) -> None:
        self._saved, self._node = saved, node
        self._known: dict[str, _Times] | None = None

    def of(self, path: str) -> Callable[[int], float | None]:
        def clock(offset: int) -> float | None:
            times = self._read().get(path)
            at = bisect_right(times.offsets, offset) - 1 if times else -1
            return times.times[at] if times and at >= 0 else None

        return clock

    def _read(self) -> dict[str, _Times]:
        if self._known is None:
            self._known = {}
            skew = self._saved.settings.skews.get(self._node, 0.0)
            for record in IndexReader(self._saved.logs, self._node).records():
                times = self._known.setdefault(record.stream.path, _Times())
                times.offsets.append(record.offset)
                times.times.append(record.t - skew)
        return self._known
