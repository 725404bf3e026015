"""The use case: show what a run has printed, line by line, and follow what it prints."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing
from datetime import datetime

from orchestrator import events
from orchestrator.api.refresh import refresh, shortcomings
from orchestrator.api.selection import nodes_of, ranks_of
from orchestrator.api.values import value_of
from orchestrator.api.watch import watch
from orchestrator.errors import UsageError
from orchestrator.logs.filter import parse_pattern
from orchestrator.logs.log_line import LineSplitter, LogLine
from orchestrator.logs.replay import Piece, Replay
from orchestrator.logs.selection import Selection
from orchestrator.logs.stream import Channel
from orchestrator.logs.timespec import parse_time
from orchestrator.runs.registry import unless_pruned
from orchestrator.runs.saved_run import SavedRun

Ranks = int | str | Iterable[int]
"""One rank, several, or a string as for `--rank`: `0,4-7`."""
Since = str | float | datetime
"""A time in seconds since the epoch, a datetime, or a string as for `--since`: `10m`."""

_ROUNDING = 1e-6  # seconds; error of a time converted between clocks


async def read_lines(
    saved: SavedRun,
    selection: Selection,
    emit: events.Emit,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: float | None = None,
) -> AsyncIterator[list[LogLine]]:
    """Yield the lines of the streams in `selection` in batches, ordered by time.

    `tail` keeps the last lines only, `since` those from that time on (seconds since the epoch). With
    `follow`, new output is included until the run has ended. `emit` gets warnings about what is missing on
    this machine and, with `follow`, the events of the run. Raises OrchError if the run is
    removed meanwhile.
    """
    splitter = LineSplitter()
    if follow and not saved.has_ended:
        async for event in watch(saved, selection.__contains__, since=since, last=tail):
            if not isinstance(event, events.Output):
                emit(event)
            elif lines := splitter.feed(event.stream, event.data, event.time):
                yield lines
    else:
        saved = await refresh(saved, emit)
        for sentence in shortcomings(saved):
            emit(events.Warned(sentence))
        for piece in stored_output(saved, selection, since, tail):
            if lines := splitter.feed(piece.stream, piece.data, piece.t):
                yield lines
    if lines := splitter.close():
        yield lines


def stored_output(
    saved: SavedRun, selection: Selection, since: float | None, tail: int | None
) -> Iterator[Piece]:
    """Yield the run's output that is on this machine, as `read_lines` selects it."""
    skews = saved.settings.skews
    replay = Replay(saved.logs, skews, selection.__contains__, since=since, last=tail)
    with closing(replay), unless_pruned(saved):
        yield from replay.pieces()
        if saved.has_ended:
            yield from replay.rest()


def selection_of(
    saved: SavedRun, rank: Ranks | None, nodes: str | None, stream: Channel | None
) -> Selection:
    """Return which output is selected. Raises UsageError for ranks or nodes that the run does not have."""
    if rank is not None and not isinstance(rank, str):
        rank = str(rank) if isinstance(rank, int) else ",".join(map(str, rank))
    if stream not in (None, "stdout", "stderr"):
        raise UsageError(f"stream {stream!r}: expected 'stdout' or 'stderr'")
    return Selection(ranks_of(saved.plan, rank), nodes_of(saved.plan, nodes, saved.former), stream)


def seconds_since(since: Since | None) -> float | None:
    """Return a time in seconds since the epoch. Raises UsageError."""
    if isinstance(since, datetime):
        return since.timestamp()
    if isinstance(since, str):
        # A line with this very timestamp is included.
        return value_of("--since", since, lambda text: parse_time(text, time.time()) - _ROUNDING)
    return since


def pattern_of(option: str, text: str | None) -> re.Pattern[str] | None:
    """Return the regular expression of an option. Raises UsageError."""
    return value_of(option, text, parse_pattern)
