"""Write the ranks' output to stdout in a thread of its own, however slowly stdout is read.

Following and keeping the logs never waits for this. What stdout has not taken yet waits in memory up
to a bound, and beyond that in the controller's copy of the stream, from where it is read back.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.events import Output
from orchestrator.logs.stream import Stream

_IN_MEMORY = 16 << 20
_FLUSH_EVERY = 0.25


class Lines(Protocol):
    """Turns chunks of streams into what is shown (`logs.lines`, `logs.json_lines`)."""

    @property
    def waiting(self) -> bool:
        """Whether `flush` may have something to show."""

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes: ...
    def flush(self, now: float) -> bytes: ...
    def close(self) -> bytes: ...


@dataclass(frozen=True)
class _Piece:
    stream: Stream
    time: float
    data: bytes | None  # None: to be read back from `copy`
    copy: Path
    offset: int
    length: int

    def read(self) -> bytes:
        if self.data is not None:
            return self.data
        with self.copy.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


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
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._broken = False
        for descriptor in {
            target(Stream("-", 0, 0, 0, channel)) for channel in ("stdout", "stderr")
        }:
            _widen(descriptor)
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)
        self._thread.start()

    def show(self, output: Output) -> None:
        """Show this output when its turn comes; returns at once."""
        length = len(output.data)
        with self._lock:
            keep = self._waiting + length <= _IN_MEMORY
            self._waiting += length if keep else 0
        data = output.data if keep else None
        self._queue.put(
            _Piece(output.stream, output.time, data, output.copy, output.offset, length)
        )

    def close(self) -> None:
        """Show what is left and return when all of it is written."""
        self._queue.put(None)
        while self._thread.is_alive():
            self._thread.join(0.5)  # in steps, so that a signal is heard

    def _run(self) -> None:
        flushed = 0.0
        while True:
            try:
                # While nothing is held back there is nothing to do before the next piece.
                piece = self._queue.get(timeout=_FLUSH_EVERY if self._lines.waiting else None)
            except queue.Empty:
                pass
            else:
                if piece is None:
                    break
                self._show(piece)
            now = time.monotonic()
            if self._lines.waiting and now - flushed >= _FLUSH_EVERY:
                flushed = now
                self._write(1, self._lines.flush(now))
        self._write(1, self._lines.close())

    def _show(self, piece: _Piece) -> None:
        if not self._broken:
            shown = self._lines.feed(piece.stream, piece.read(), piece.time)
            self._write(self._target(piece.stream), shown)
        if piece.data is not None:
            with self._lock:
                self._waiting -= piece.length

    def _write(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._broken:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except OSError as error:
                self._broken = True
                self._on_broken(error)


def _widen(descriptor: int) -> None:
    """Let a pipe hold as much as a chunk has, so that writer and reader take turns less often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # no pipe, or this user has enough pages in pipes already
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
