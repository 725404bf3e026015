"""The copies of one node's logs on this machine: store new output, show it, report what is missing."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import events
from orchestrator.logs.holes import hole_notice
from orchestrator.logs.stream import Stream
from orchestrator.remote.reports import Chunk, FileProblem, Zeros
from orchestrator.runs.record import Record
from orchestrator.util.text import format_size

_MAX_ODD_FILES = 20  # reported per node
_ODD_FILES = {
    "name": "not a name of a log file",
    "no-file": "not a regular file",
    "no-folder": "not a folder",
    "unreadable": "it cannot be read",
    "replaced": "it was replaced by another file; output in that one is ignored",
    "shorter": "it was truncated; the copy here keeps the output",
}


class NoSpace(Exception):
    """Output cannot be stored on this machine; the node still has it."""


class Copies:
    """The copies of the logs of `node`.

    `stream_of` returns the stream for a path on the node, None if it belongs to another run.
    `on_kept` is called when new output was stored.
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
        self._store = record.store
        self._emit = emit
        self._stream_of = stream_of
        self._on_kept = on_kept
        self._skew = record.settings.skews.get(node, 0.0)
        self._no_space_for: set[str] = set()  # paths; other files may still have space
        self._odd: set[str] = set()
        self._gaps: dict[str, int] = {}  # path -> size of its copy when bytes were missing
        self.is_cut = False
        """Whether copying has stopped because the run's limit on logs is reached."""

    @property
    def have_space(self) -> bool:
        """Whether there is disk space here for the output that was received."""
        return not self._no_space_for

    @property
    def are_complete(self) -> bool:
        """Whether all received output is stored."""
        return not (self.is_cut or self._gaps or self._no_space_for)

    def keep(self, chunk: Chunk | Zeros) -> None:
        """Store the new bytes of a chunk and show them.

        Raises NoSpace, LimitReached or GapError, and NodeError for a path that no stream has.
        """
        stream = self._stream_of(chunk.path)
        if stream is None:
            return
        before = self._store.size(stream)
        if self._is_missing_for_good(chunk, before):
            return
        try:
            if isinstance(chunk, Zeros):
                self._store.append_zeros(stream, chunk.offset, chunk.count, chunk.time)
            else:
                self._store.append(stream, chunk.offset, chunk.data, chunk.time)
        except OSError as error:
            if not self._no_space_for:
                self._warn(
                    f"the logs of {self._node} cannot be stored here: {error.strerror}; "
                    "the node keeps them for now"
                )
            self._no_space_for.add(chunk.path)
            raise NoSpace from None
        else:
            if chunk.path in self._no_space_for:
                self._no_space_for.discard(chunk.path)
                if not self._no_space_for:
                    self._warn(f"the logs of {self._node} are stored here again, without a gap")
        finally:
            self._show(stream, chunk, before, self._store.size(stream))

    def _is_missing_for_good(self, chunk: Chunk | Zeros, end: int) -> bool:
        """Return whether the bytes between the `end` of the copy and the chunk will never come.

        The node is asked for them once; if it sends the same chunk again, they are lost.
        """
        if chunk.offset <= end:
            return False
        if self._gaps.get(chunk.path) == end:
            if chunk.path not in self._odd:
                self._odd.add(chunk.path)
                self._warn(
                    f"{self._node}: {chunk.path}: bytes are missing from byte {end} on; the copy here "
                    "ends there, the rest is only on the node"
                )
            return True
        self._gaps[chunk.path] = end
        return False

    def _show(self, stream: Stream, chunk: Chunk | Zeros, before: int, now: int) -> None:
        """Emit the bytes of a chunk that were added to the copy of a stream."""
        if now == before:
            return
        self._on_kept()
        self._gaps.pop(chunk.path, None)
        if isinstance(chunk, Zeros):
            hole, data = now - before, hole_notice(now - before)
        else:
            hole, data = 0, chunk.data[before - chunk.offset : now - chunk.offset]
        copy = self._record.logs / self._node / chunk.path
        self._emit(events.Output(stream, before, data, chunk.time - self._skew, copy, hole))

    def cut(self) -> None:
        """Stop copying because the limit is reached; report it once for all nodes."""
        self.is_cut = True
        store = self._store
        if store.limit is None or store.limit_reported:
            return
        store.limit_reported = True
        most = ""
        if (largest := store.largest()) is not None:
            stream, size = largest
            most = f" ({stream.path} of {stream.node}: {format_size(size)})"
        plan = self._record.plan
        place = next(node.host.state_folder for node in plan.nodes if node.name == self._node)
        self._warn(
            f"the logs of run {plan.run} have reached their limit of {format_size(store.limit)} on this "
            f"machine{most}. The run continues; its further output stays on the nodes, in "
            f"{place}/runs/{plan.run}. To copy more of the next run: --log-limit SIZE (0: no limit)"
        )

    def note_odd(self, report: FileProblem) -> None:
        """Report once that a file is not copied or was changed."""
        if report.path not in self._odd and len(self._odd) < _MAX_ODD_FILES:
            self._odd.add(report.path)
            self._warn(f"{self._node}: {report.path} in the run's folder: {_ODD_FILES[report.why]}")

    def _warn(self, message: str) -> None:
        self._emit(events.Warned(message))
