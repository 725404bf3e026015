"""The copies of one node's logs: what comes is kept and shown, and what cannot be is told."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import events
from orchestrator.logs.holes import hole_notice
from orchestrator.logs.stream import Stream
from orchestrator.remote.reports import Chunk, FileProblem, Zeros
from orchestrator.runs.record import Record
from orchestrator.util.text import format_size

_MOST_ODD = 20  # files of a node of which it is told that they are passed over
_ODD = {
    "name": "no name of a file of orch's",
    "no-file": "a named pipe, a link or the like in the place of a file",
    "no-folder": "not a folder",
    "unreadable": "it cannot be read",
    "replaced": "another file has taken its place; what is written there is left out",
    "shorter": "it was cut short; the copy here keeps what it had",
}


class NoRoom(Exception):
    """The bytes that came cannot be kept here; the node has them."""


class Copies:
    """The copies of the logs of `node`; `stream_of` says what a path of the node's names, None for nothing
    of this run. `on_kept` is called when bytes have come that are new.
    """

    def __init__(
        self,
        node: str,
        record: Record,
        emit: events.Emit,
        stream_of: Callable[[str], Stream | None],
        on_kept: Callable[[], None],
    ) -> None:
        self._node = node
        self._record = record
        self._emit = emit
        self._stream_of = stream_of
        self._on_kept = on_kept
        self._skew = record.settings.skews.get(node, 0.0)
        self._no_room_for: set[str] = set()  # paths: a little of others may fit meanwhile
        self._odd: set[str] = set()
        self._gaps: dict[str, int] = {}  # path -> where its copy ended when bytes were missing
        self.is_cut = False
        """Whether logs of the node stay there: the run's limit is reached."""

    @property
    def has_room(self) -> bool:
        """Whether what comes can be kept here."""
        return not self._no_room_for

    @property
    def are_whole(self) -> bool:
        """Whether nothing of what came is missing here."""
        return not (self.is_cut or self._gaps or self._no_room_for)

    def keep(self, chunk: Chunk | Zeros) -> None:
        """Keep the bytes that are new, and show them.

        Raises NoRoom, LimitReached or GapError, and NodeError where there can be no such stream.
        """
        stream = self._stream_of(chunk.path)
        if stream is None:
            return
        store = self._record.store
        before = store.size(stream)
        if self._is_given_up(chunk, before):
            return
        try:
            if isinstance(chunk, Zeros):
                store.append_zeros(stream, chunk.offset, chunk.count, chunk.time)
            else:
                store.append(stream, chunk.offset, chunk.data, chunk.time)
        except OSError as error:
            if not self._no_room_for:
                message = f"the logs of {self._node} cannot be kept here: {error.strerror}"
                self._warn(f"{message}; the node keeps them meanwhile")
            self._no_room_for.add(chunk.path)
            raise NoRoom from None
        else:
            if chunk.path in self._no_room_for:
                self._no_room_for.discard(chunk.path)
                if not self._no_room_for:
                    self._warn(f"the logs of {self._node} are kept here again, without a gap")
        finally:
            self._show(stream, chunk, before, store.size(stream))

    def _is_given_up(self, chunk: Chunk | Zeros, end: int) -> bool:
        """Tell whether bytes before the chunk, behind the `end` of the copy, never come.

        Once a node may be asked anew; one that sends the same again has no others.
        """
        if chunk.offset <= end:
            return False
        if self._gaps.get(chunk.path) == end:
            if chunk.path not in self._odd:
                self._odd.add(chunk.path)
                self._warn(
                    f"{self._node}: {chunk.path}: bytes are missing from byte {end} on; the copy here "
                    "ends there, and the node has what it has"
                )
            return True
        self._gaps[chunk.path] = end
        return False

    def _show(self, stream: Stream, chunk: Chunk | Zeros, before: int, now: int) -> None:
        """Tell of the bytes that the copy of a stream has gained by a chunk."""
        if now == before:
            return
        self._on_kept()
        self._gaps.pop(chunk.path, None)
        copy = self._record.logs / self._node / chunk.path
        at = chunk.time - self._skew
        if isinstance(chunk, Zeros):
            hole = now - before
            self._emit(events.Output(stream, before, hole_notice(hole), at, copy, hole))
        else:
            fresh = chunk.data[before - chunk.offset : now - chunk.offset]
            self._emit(events.Output(stream, before, fresh, at, copy))

    def cut(self) -> None:
        """Keep no more here, since the limit is reached; that is told once for all nodes."""
        self.is_cut = True
        store = self._record.store
        if store.limit is None or store.limit_reported:
            return
        store.limit_reported = True
        largest = store.largest()
        most = ""
        if largest is not None:
            stream, taken = largest
            most = f" ({stream.path} of {stream.node}: {format_size(taken)})"
        run = self._record.plan.run
        self._warn(
            f"the logs of run {run} have reached their limit of {format_size(store.limit)} on this "
            f"machine{most}. The run goes on; its further output stays on the nodes, in "
            f"~/.local/state/orch/runs/{run}. To copy more of the next run: --log-limit SIZE (0: no limit)"
        )

    def note_odd(self, report: FileProblem) -> None:
        """Tell once of a file that is passed over, or not what it was."""
        if report.path not in self._odd and len(self._odd) < _MOST_ODD:
            self._odd.add(report.path)
            self._warn(f"{self._node}: {report.path} in the run's folder: {_ODD[report.why]}")

    def _warn(self, message: str) -> None:
        self._emit(events.Warned(message))
