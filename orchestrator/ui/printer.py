"""Write a run's output straight to stdout: as fast as that is read, and never ahead of it.

For commands that only read. Nothing but the reader of stdout is waited for, so the order of time is kept
however slow it is, and nothing is held in memory.
"""

from __future__ import annotations

import os
import select
import time

from orchestrator.logs.lines import Lines
from orchestrator.logs.stream import Stream
from orchestrator.ui.stderr import message
from orchestrator.ui.stdout import told_as_output

_AT_ONCE = 256 << 10  # bytes


class Raw:
    """Lines that pass as they are (`logs.lines.Lines`)."""

    waiting = False

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        return chunk

    def flush(self, now: float) -> bytes:
        return b""

    def close(self) -> bytes:
        return b""


class Printer:
    """Writes output through `lines`, or what is of stderr through `errors`, where given, to stderr.

    Raises BrokenPipeError when nobody reads any more, OutputError when it cannot be written.
    """

    def __init__(self, lines: Lines, errors: Lines | None = None) -> None:
        self._lines = lines
        self._errors = errors
        self._gathered: list[bytes] = []
        self._size = 0

    def show(self, stream: Stream, data: bytes, t: float) -> None:
        """Take output; much of it is written at once, the rest with `write`."""
        if self._errors is not None and stream.channel == "stderr":
            self.put(2, self._errors.feed(stream, data, t))
        else:
            self.put(1, self._lines.feed(stream, data, t))

    def put(self, descriptor: int, data: bytes) -> None:
        """Take what has gone through lines already, for 1 or 2."""
        if descriptor == 2:
            write_all(2, data)
        elif data:
            self._gathered.append(data)
            self._size += len(data)
            if self._size >= _AT_ONCE:
                self.write()

    def say(self, text: str, colour: str | None = None) -> None:
        """Write a message to stderr, after the output so far."""
        self.write()
        write_all(2, message(text, colour))

    def flush(self) -> None:
        """Write what has waited for long enough; to be called several times a second."""
        if self._lines.waiting:
            self.put(1, self._lines.flush(time.monotonic()))
        self.write()

    def write(self) -> None:
        """Write what is complete."""
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._size = 0
            write_all(1, data)

    def close(self) -> None:
        """Write everything that is left."""
        self.put(1, self._lines.close())
        self.write()
        if self._errors is not None:
            self.put(2, self._errors.close())


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, however long that takes. Raises OutputError, or BrokenPipeError."""
    rest = memoryview(data)
    while rest:
        try:
            with told_as_output():
                rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody made it non-blocking: wait as if it were not
            select.select([], [descriptor], [])
