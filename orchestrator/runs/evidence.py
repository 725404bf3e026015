"""Input of a diagnosis from the folder of a run: timed logs, and how its ranks ended."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from orchestrator import events
from orchestrator.diagnose import Evidence, Exit, Source
from orchestrator.diagnose.read import Examination, Log
from orchestrator.diagnose.table import BY_ID
from orchestrator.errors import UsageError
from orchestrator.logs.index import IndexReader, stored_streams
from orchestrator.logs.stream import Stream
from orchestrator.runs.event_log import EventReader
from orchestrator.runs.file_causes import with_file_cause
from orchestrator.runs.folder import EVENTS
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.state import RankState, RunState, state_of

_OOM, _KILLED = "memory.oom-killer", "exit.kill"


def logs_of(saved: SavedRun, attempt: int | None = None) -> tuple[Log, ...]:
    """Return the logs of an attempt on this machine, named relative to `saved.logs`.

    None: the last attempt; if a launcher restarted ranks, the last one of each rank. Raises UsageError for
    an attempt that the run does not have.
    """
    streams = [stream for node in saved.nodes for stream in stored_streams(saved.logs, node.name)]
    there = sorted({stream.attempt for stream in streams} | {saved.attempt})
    if attempt is not None and attempt not in there:
        raise UsageError(
            f"--attempt {attempt}: run {saved.run} has no such attempt",
            remedy=f"it has {', '.join(map(str, there))}" if there[-1] else "it has only attempt 0",
        )
    first, last = _span(saved, attempt)
    newest = {s.rank: s.attempt for s in sorted(streams, key=lambda s: s.attempt)}

    def is_included(stream: Stream) -> bool:
        if stream.rank is None:  # a launcher that restarts ranks appends to the same file
            return first <= stream.attempt <= last
        wanted = newest[stream.rank] if attempt is None else attempt
        return stream.attempt == wanted >= first

    clocks: dict[str, _Clock] = {}
    logs = []
    for stream in sorted(filter(is_included, streams), key=_order):
        path = saved.logs / stream.node / stream.path
        clock = clocks.setdefault(stream.node, _Clock(saved, stream.node))
        source = Source(
            f"{stream.node}/{stream.path}", stream.rank, stream.node, clock.of(stream.path)
        )
        logs.append(Log(source, path, path.stat().st_size))
    return tuple(logs)


def evidence_of(saved: SavedRun, attempt: int | None = None) -> Evidence:
    """Return how ranks of the attempt ended by themselves, and the evidence of its verdict."""
    state, stopped = _state(saved, attempt)
    skews = saved.settings.skews
    is_last = attempt is None or attempt >= saved.attempt
    why = saved.verdict if is_last else None
    exits = []
    for rank in state.ranks.values():
        if rank.ended is None or attempt not in (None, rank.attempt):
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


def with_file_causes(examined: Examination, saved: SavedRun) -> Examination:
    """Return the examination with causes found in the files of the run. Raises OrchError."""
    uneven = state_of(saved.folder).uneven
    nodes = {node.name: node for node in saved.nodes}
    hits = tuple(
        with_file_cause(
            hit,
            saved.settings.source,
            nodes.get(hit.first.place.node or "", saved.plan.nodes[0]),
            uneven,
        )
        for hit in examined.diagnosis.hits
    )
    return replace(examined, diagnosis=replace(examined.diagnosis, hits=hits))


def with_seen_cause(
    examined: Examination, saved: SavedRun, attempt: int | None = None
) -> Examination:
    """Return the examination with the cause that orch saw on the node when the attempt failed."""
    is_last = attempt is None or attempt >= saved.attempt
    why, best = saved.verdict, examined.diagnosis.best
    if not is_last or why is None or not why.looked or best is None or why.rank not in best.ranks:
        return examined
    signature = replace(BY_ID.get(why.signature, best.signature), check=why.check or None)
    # What the kernel shows is among the places that orch looked at.
    code = why.code if why.signal is None else -why.signal
    matches = tuple(replace(each, text=f"exit code {code}: SIGKILL") for each in best.matches)
    seen = replace(best, signature=signature, meaning=why.meaning, cause=why.cause, fix=why.fix)
    if signature.id == _KILLED:
        seen = replace(seen, matches=matches)
    hits = tuple(seen if hit is best else hit for hit in examined.diagnosis.hits)
    return replace(examined, diagnosis=replace(examined.diagnosis, hits=hits))


def _span(saved: SavedRun, attempt: int | None) -> tuple[int, float]:
    """Return the range of attempt numbers of its logs, including those of restarted ranks."""
    for failed in saved.failed:
        if attempt is not None and failed.number <= attempt <= failed.last:
            return failed.number, failed.last
    return saved.attempt, float("inf")


def _state(saved: SavedRun, attempt: int | None) -> tuple[RunState, float]:
    """Return the state after the attempt, and when it was asked to stop (the controller's clock)."""
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
        state.apply(logged)
    return state, stopped


def _code(rank: RankState) -> int:
    return -rank.signal if rank.signal is not None else rank.code or 0


def _order(stream: Stream) -> tuple[float, str, str]:
    return (float("inf") if stream.rank is None else stream.rank, stream.node, stream.path)


class _Clock:
    """When bytes of a node's logs arrived, by this machine's clock. Reads the index on first use."""

    def __init__(self, saved: SavedRun, node: str) -> None:
        self._saved, self._node = saved, node
        self._known: dict[str, tuple[array[int], array[float]]] = {}
        self._is_read = False

    def of(self, path: str) -> Callable[[int], float | None]:
        """Return a function from the offset of a byte to its time, None if that is unknown."""

        def clock(offset: int) -> float | None:
            self._read()
            offsets, times = self._known.get(path, ((), ()))
            at = bisect_right(offsets, offset) - 1
            return times[at] if at >= 0 else None

        return clock

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        skew = self._saved.settings.skews.get(self._node, 0.0)
        for record in IndexReader(self._saved.logs, self._node).records():
            offsets, times = self._known.setdefault(record.stream.path, (array("Q"), array("d")))
            offsets.append(record.offset)
            times.append(record.t - skew)
