"""Write a run's output to stdout as fast as it is read, for commands that only read logs.

The order in time is kept however slow the reader is, and output does not pile up in memory.
"""

from __future__ import annotations

import time

from orchestrator.logs.lines import Lines
from orchestrator.logs.stream import Stream
from orchestrator.ui.stderr import message
from orchestrator.ui.stdout import write_all

_BUFFER_SIZE = 256 << 10  # bytes


class Raw:
    """Passes output unchanged (a `logs.lines.Lines`)."""

    waiting = False

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        return chunk

    def flush(self, now: float) -> bytes:
        return b""

    def close(self) -> bytes:
        return b""


class Printer:
    """Writes output to stdout through `lines`; with `errors`, output of stderr to stderr through these.

    Raises BrokenPipeError if the reader is gone, OutputError if output cannot be written.
    """

    def __init__(self, lines: Lines, errors: Lines | None = None) -> None:
        self._lines = lines
        self._errors = errors
        self._gathered: list[bytes] = []
        self._size = 0

    def show(self, stream: Stream, data: bytes, t: float) -> None:
        """Take output. It is buffered; `write` writes the rest."""
        if self._errors is not None and stream.channel == "stderr":
            self.put(2, self._errors.feed(stream, data, t))
        else:
            self.put(1, self._lines.feed(stream, data, t))

    def put(self, descriptor: int, data: bytes) -> None:
        """Take formatted output for descriptor 1 or 2."""
        if descriptor == 2:
            write_all(2, data)
        elif data:
            self._gathered.append(data)
            self._size += len(data)
            if self._size >= _BUFFER_SIZE:
                self.write()

    def say(self, text: str, colour: str | None = None) -> None:
        """Write a message to stderr, after the output so far."""
        self.write()
        write_all(2, message(text, colour))

    def flush(self) -> None:
        """Write unfinished lines that have waited long enough; call it several times a second."""
        if self._lines.waiting:
            self.put(1, self._lines.flush(time.monotonic()))
        self.write()

    def write(self) -> None:
        """Write what is buffered."""
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._size = 0
            write_all(1, data)

    def close(self) -> None:
        """Write everything that is left, unfinished lines too."""
        self.put(1, self._lines.close())
        self.write()
        if self._errors is not None:
            self.put(2, self._errors.close())
