"""Write the ranks' output to stdout in a thread of its own, however slowly stdout is read.

Following and keeping the logs never waits for this. What stdout has not taken yet waits in memory up
to a bound, and beyond that in the controller's copy of the stream, from where it is read back.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.events import Output
from orchestrator.logs.stream import Stream

_IN_MEMORY = 16 << 20
_READ_BACK = 1 << 20
_FLUSH_EVERY = 0.25


class Lines(Protocol):
    """Turns chunks of streams into what is shown (`logs.lines`, `logs.json_lines`)."""

    @property
    def waiting(self) -> bool:
        """Whether `flush` may have something to show."""

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes: ...
    def flush(self, now: float) -> bytes: ...
    def close(self) -> bytes: ...


@dataclass
class _Piece:
    """Output of one stream that waits: in memory, or (`data` None) in the copy."""

    stream: Stream
    time: float
    data: bytes | None
    copy: Path
    offset: int
    length: int

    def read(self) -> Iterator[bytes]:
        if self.data is not None:
            yield self.data
            return
        with self.copy.open("rb") as file:
            file.seek(self.offset)
            left = self.length
            while left and (data := file.read(min(left, _READ_BACK))):
                left -= len(data)
                yield data


class _Queue:
    """Pieces in the order in which they came, in bounded memory however long they wait.

    What does not fit waits in the copy, as one piece a stream, which grows by what comes next.
    """

    def __init__(self) -> None:
        self._pieces: deque[_Piece] = deque()
        self._growing: dict[Stream, _Piece] = {}
        self._in_memory = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, output: Output) -> None:
        length = len(output.data)
        with self._changed:
            growing = self._growing.get(output.stream)
            if growing is not None and growing.offset + growing.length == output.offset:
                growing.length += length
                return
            fits = self._in_memory + length <= _IN_MEMORY
            data = output.data if fits else None
            piece = _Piece(output.stream, output.time, data, output.copy, output.offset, length)
            if fits:
                self._in_memory += length
            else:
                self._growing[output.stream] = piece
            self._pieces.append(piece)
            self._changed.notify()

    def get(self, timeout: float | None) -> _Piece | None:
        """Return the next piece; None when there was none for `timeout` seconds, or ever will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._closed, timeout)
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            if self._growing.get(piece.stream) is piece:
                del self._growing[piece.stream]
            if piece.data is not None:
                self._in_memory -= piece.length
            return piece

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def is_done(self) -> bool:
        return self._closed and not self._pieces


class Display:
    """Shows output through `lines` on the descriptor that `target` gives for each stream.

    `on_broken` is told, once, when nobody reads any more.
    """

    def __init__(
        self,
        lines: Lines,
        target: Callable[[Stream], int],
        on_broken: Callable[[OSError], None],
    ) -> None:
        self._lines = lines
        self._target = target
        self._on_broken = on_broken
        self._queue = _Queue()
        self._broken = False
        for descriptor in {
            target(Stream("-", 0, 0, 0, channel)) for channel in ("stdout", "stderr")
        }:
            _widen(descriptor)
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)
        self._thread.start()

    def show(self, output: Output) -> None:
        """Show this output when its turn comes; returns at once."""
        self._queue.put(output)

    def close(self) -> None:
        """Show what is left and return when all of it is written."""
        self._queue.close()
        while self._thread.is_alive():
            self._thread.join(0.5)  # in steps, so that a signal is heard

    def _run(self) -> None:
        flushed = 0.0
        while not self._queue.is_done:
            # While nothing is held back there is nothing to do before the next piece.
            piece = self._queue.get(_FLUSH_EVERY if self._lines.waiting else None)
            if piece is not None:
                self._show(piece)
            now = time.monotonic()
            if self._lines.waiting and now - flushed >= _FLUSH_EVERY:
                flushed = now
                self._write(1, self._lines.flush(now))
        self._write(1, self._lines.close())

    def _show(self, piece: _Piece) -> None:
        if self._broken:
            return
        descriptor = self._target(piece.stream)
        for data in piece.read():
            self._write(descriptor, self._lines.feed(piece.stream, data, piece.time))

    def _write(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._broken:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:  # somebody made it non-blocking: wait as if it were not
                select.select([], [descriptor], [])
            except OSError as error:
                self._broken = True
                self._on_broken(error)


def _widen(descriptor: int) -> None:
    """Let a pipe hold as much as a chunk has, so that writer and reader take turns less often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # no pipe, or this user has enough pages in pipes already
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
