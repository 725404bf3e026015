"""Follow an active run by reading its folder, whichever process controls it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

from orchestrator import events
from orchestrator.control.gpus import GpuReader
from orchestrator.logs.replay import Piece, Replay
from orchestrator.logs.stream import Stream
from orchestrator.runs.background import ensure_watched
from orchestrator.runs.event_log import EventReader, LoggedEvent
from orchestrator.runs.folder import EVENTS, RUN
from orchestrator.runs.registry import unless_pruned
from orchestrator.runs.saved_run import SavedRun, load_run
from orchestrator.runs.state import replay

_POLL_INTERVAL = 0.1  # seconds
_CONTROLLER_CHECK_INTERVAL = 2.0  # seconds
_PIECES_PER_TURN = 64  # then other tasks have a turn

# Past events that still matter to a viewer that joins later.
_LASTING = (
    events.RankBegan, events.RankEnded, events.NodeEnded, events.NodeLeft, events.Stopping,
    events.Restarting, events.FilesWritten,
)  # fmt: skip
# Events that concern only the controller, and those that come last.
_LEFT_OUT = (
    events.PhaseBegan, events.PhaseAdvanced, events.PhaseEnded, events.Sending, events.Started,
    events.Detached, events.Explained, events.Ended,
)  # fmt: skip


async def watch(
    saved: SavedRun,
    want: Callable[[Stream], bool] = lambda stream: True,
    *,
    since: float | None = None,
    last: int | None = None,
) -> AsyncIterator[events.Event]:
    """Yield the events of the run, its output included, until it has ended; `Ended` is the last.

    Past events come first: output that `since` and `last` select (see `Replay`), and events that still
    matter. A run without a controller gets one in the background. Raises LaunchError if none starts,
    OrchError if the run is removed meanwhile.
    """
    reader = EventReader(saved.folder / EVENTS)
    gpus = GpuReader(saved.folder)
    replay = Replay(saved.logs, saved.settings.skews, want, since=since, last=last)
    record = _Ending(saved)
    checked = float("-inf")
    has_begun = has_ended = False
    explained: events.Explained | None = None
    yield events.Planned((_later(saved) or saved).plan)
    try:
        while not has_ended:
            # The events first: output written before the end is then among the pieces.
            news = list(reader.read())
            ended = next((new.event for new in news if isinstance(new.event, events.Ended)), None)
            for new in news:
                if isinstance(new.event, events.Explained):
                    explained = new.event
            has_ended = ended is not None or record.is_over()
            if not has_ended and time.monotonic() - checked > _CONTROLLER_CHECK_INTERVAL:
                checked = time.monotonic()
                if (taken_up := await ensure_watched(saved.folder)) is not None:
                    yield taken_up
            for event in _past(news) if not has_begun else (new.event for new in news):
                if isinstance(event, events.Started) and (later := _later(saved)) is not None:
                    saved = later
                    yield events.Planned(saved.plan)
                if not isinstance(event, _LEFT_OUT):
                    yield event
            has_begun = True
            for sample in gpus.news():
                yield sample
            for count, piece in enumerate(_all_pieces(saved, replay, has_ended), start=1):
                yield _output(saved, piece)
                if count % _PIECES_PER_TURN == 0:
                    await asyncio.sleep(0)
            if has_ended:
                for event in ends_of(saved, explained, ended):
                    yield event
            else:
                await asyncio.sleep(_POLL_INTERVAL)
    finally:
        replay.close()


def ends_of(
    saved: SavedRun, explained: events.Explained | None = None, ended: events.Ended | None = None
) -> Iterator[events.Event]:
    """Yield why the run failed, if it did, and how it ended: from the events, otherwise from its record."""
    now = load_run(saved.folder) or saved
    why = explained or now.verdict
    if why is not None:
        yield why
    yield ended or end_of(now)


def end_of(saved: SavedRun) -> events.Ended:
    """Return the end of a run from its record: its event log may lack it."""
    now = load_run(saved.folder) or saved
    seconds = (now.ended or now.began) - now.began
    code = 1 if now.exit_code is None else now.exit_code
    return events.Ended(now.run, code, seconds, now.summary, now.folder, now.stop, now.detail)


def _later(saved: SavedRun) -> SavedRun | None:
    """Return the current run if another attempt has begun since `saved`."""
    now = load_run(saved.folder)
    return now if now is not None and now.attempt > saved.attempt else None


def _past(log: list[LoggedEvent]) -> Iterator[events.Event]:
    """Yield the events of a log that still matter."""
    state = replay(log)
    for logged in log:
        if isinstance(logged.event, _LASTING):
            yield logged.event
    for node in state.nodes.values():
        if node.unreachable_since is not None:
            yield events.NodeLost(node.name, node.cause)
        else:
            yield events.Following(node.name)
    if state.stalled is not None:
        yield state.stalled
    yield from state.stragglers.values()


def _all_pieces(saved: SavedRun, replay: Replay, has_ended: bool) -> Iterator[Piece]:
    with unless_pruned(saved):
        yield from replay.pieces()
        if has_ended:
            yield from replay.rest()


def _output(saved: SavedRun, piece: Piece) -> events.Output:
    copy = saved.logs / piece.stream.node / piece.stream.path
    return events.Output(piece.stream, piece.offset, piece.data, piece.t, copy, piece.hole)


class _Ending:
    """Whether a run has ended, from its record: its event log may lack the end (a full disk)."""

    def __init__(self, saved: SavedRun) -> None:
        self._saved = saved
        self._seen: tuple[int, int] | None = None
        self._over = False

    def is_over(self) -> bool:
        """Check; reads the record only if it was replaced."""
        try:
            state = (self._saved.folder / RUN).stat()
        except FileNotFoundError:
            return True
        if self._seen != (state.st_ino, state.st_mtime_ns):
            self._seen = (state.st_ino, state.st_mtime_ns)
            now = load_run(self._saved.folder)
            self._over = now is None or now.has_ended
        return self._over
