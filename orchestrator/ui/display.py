"""Write to a terminal or a pipe in a separate thread, however slowly it is read.

There is one display for each file: everything written there keeps its order, and no other thread waits for
the reader. Output that waits is kept in memory up to a limit, and beyond that read back from the
controller's copy of the stream. A terminal that falls far behind skips output, with a notice: it would have
left the scrollback before anyone could read it.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.events import Output
from orchestrator.logs.lines import Lines
from orchestrator.logs.stream import Stream
from orchestrator.ui.stderr import message
from orchestrator.ui.terminal import RESET, Footer, Render
from orchestrator.util.text import format_size

_MAX_IN_MEMORY = 16 << 20  # bytes
_MAX_IN_MEMORY_FOR_TERMINAL = 4 << 20
_MAX_BACKLOG = 4 << 20  # bytes of one stream that may wait in its copy for a terminal
_SCROLLBACK = 1 << 20  # bytes that are shown of a larger backlog: ten thousand lines
_READ_SIZE = 1 << 20
_FRAME_SIZE = 1 << 20  # bytes written before the rows at the bottom are drawn again
_WRITE_SIZE = 8 << 10  # bytes per write to a terminal, which takes each write as a whole
_SKIP_NOTICE_INTERVAL = 1.0  # seconds
_FLUSH_INTERVAL = 0.25
_FRAME_INTERVAL = 1 / 12
_REDRAW_INTERVAL = 1.0  # while nothing happens: there are clocks
_DRAIN_TIMEOUT = 1.5  # seconds for the messages once output is no longer waited for


@dataclass
class _Piece:
    """Output of one stream that waits, in memory or (`data` is None) in the copy."""

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
            while left and (data := file.read(min(left, _READ_SIZE))):
                left -= len(data)
                yield data


class _LogLine(bytes):
    """A line of orch's log that waits."""


# How many may wait. Each message also splits the output that waits in the copies.
_MAX_WAITING: dict[type[bytes], int] = {bytes: 500, _LogLine: 5000}


class _Queue:
    """Output and messages in order, in bounded memory.

    Output that does not fit waits in the copy, as one piece per stream that grows until the next message.
    """

    def __init__(self, max_in_memory: int) -> None:
        self._max_in_memory = max_in_memory
        self._items: deque[_Piece | bytes] = deque()
        self._growing: dict[Stream, _Piece] = {}
        self._in_memory = 0
        self._waiting: Counter[type[bytes]] = Counter()
        self._dropped = 0
        self._woken = self._closed = False
        self._changed = threading.Condition()

    def put(self, output: Output) -> None:
        length = len(output.data)
        with self._changed:
            growing = self._growing.get(output.stream)
            if output.hole:  # its data is a short line that is not in the copy
                self._growing.pop(output.stream, None)
            elif growing is not None and growing.offset + growing.length == output.offset:
                growing.length += length
                return
            fits = output.hole > 0 or self._in_memory + length <= self._max_in_memory
            data = output.data if fits else None
            piece = _Piece(output.stream, output.time, data, output.copy, output.offset, length)
            if fits:
                self._in_memory += length
            else:
                self._growing[output.stream] = piece
            self._items.append(piece)
            self._changed.notify()

    def say(self, message: bytes) -> None:
        kind = type(message)
        with self._changed:
            if self._waiting[kind] == _MAX_WAITING[kind]:
                self._dropped += 1
                return
            self._waiting[kind] += 1
            self._growing.clear()
            self._items.append(message)
            self._changed.notify()

    def get(self, timeout: float | None) -> _Piece | bytes | None:
        """Return the next item; None after `timeout` seconds without any, after `wake`, or at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._woken or self._closed, timeout)
            self._woken = False
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, bytes):
                self._waiting[type(item)] -= 1
                dropped, self._dropped = self._dropped, 0
                return item + (b"orch: %d messages left out\n" % dropped if dropped else b"")
            if self._growing.get(item.stream) is item:
                del self._growing[item.stream]
            if item.data is not None:
                self._in_memory -= item.length
            return item

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def drop_output(self) -> None:
        """Drop the output that waits, and keep the messages."""
        with self._changed:
            self._items = deque(item for item in self._items if isinstance(item, bytes))
            self._growing.clear()

    @property
    def is_done(self) -> bool:
        return self._closed and not self._items


class Display:
    """Shows output, through `lines`, and messages on `descriptor`.

    `on_broken` is called once if writing fails, as when the reader is gone.
    """

    def __init__(self, descriptor: int, on_broken: Callable[[OSError], None] | None = None) -> None:
        self.lines: Lines | None = None
        """Formats the output (None: as it is); to be set before the first output."""
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._is_terminal = os.isatty(descriptor)
        self._queue = _Queue(_MAX_IN_MEMORY_FOR_TERMINAL if self._is_terminal else _MAX_IN_MEMORY)
        self._skipped, self._skip_noticed_at = 0, 0.0
        self._write_size = _WRITE_SIZE if self._is_terminal else _FRAME_SIZE
        self._render: Render | None = None
        self._footer = Footer(descriptor)
        self._gathered: list[bytes] = []
        self._size = 0
        self._due = time.monotonic() + _FRAME_INTERVAL  # what takes a moment is not drawn
        self._broken = self._hurried = self._torn = self._is_changed = False
        self._last = b""
        _widen(descriptor)
        self._done = threading.Event()
        threading.Thread(target=self._run, name="display", daemon=True).start()

    def show(self, output: Output) -> None:
        """Show output; returns at once."""
        self._queue.put(output)

    def say(self, lines: bytes) -> None:
        """Show whole lines as they are, after the output so far; returns at once."""
        self._queue.say(lines)

    def log(self, line: bytes) -> None:
        """Show a line of orch's log, after the output so far; returns at once."""
        self._queue.say(_LogLine(line))

    def draw(self, footer: Render | None) -> None:
        """Draw these rows below everything else from now on (None: nothing); only for a terminal."""
        self._render = footer
        self.refresh()

    def refresh(self) -> None:
        """Draw the rows at the bottom again soon."""
        self._is_changed = True
        self._queue.wake()

    def close(self, last: bytes = b"", timeout: float | None = None) -> None:
        """Show what is left, then `last`, and return when all of it is written.

        After `timeout` seconds (None: never), or when interrupted, output that still waits is dropped, and
        messages have a moment left.
        """
        self._last = last
        self._queue.close()
        try:
            deadline = None if timeout is None else time.monotonic() + timeout
            # Not Thread.join: after a signal has interrupted it, it takes the thread for ended. In steps,
            # so that signals are handled.
            while not self._done.wait(0.5 if deadline is None else 0.05):
                if deadline is not None and time.monotonic() >= deadline:
                    break
        finally:
            if not self._done.is_set():
                self._hurried = True
                self._queue.drop_output()
                self._done.wait(_DRAIN_TIMEOUT)

    def _run(self) -> None:
        try:
            self._show_all()
        finally:
            self._done.set()

    def _show_all(self) -> None:
        flushed = 0.0
        while not self._queue.is_done:
            item = self._queue.get(self._pause())
            if self._hurried:
                self._gathered.clear()
            if isinstance(item, bytes):
                self._gather(item)
            elif item is not None:
                self._show(item)
            now = time.monotonic()
            lines = None if self._hurried else self.lines
            if lines is not None and lines.waiting and now - flushed >= _FLUSH_INTERVAL:
                flushed = now
                self._gather(lines.flush(now))
            if now >= self._due:
                self._frame()
        self._render = None
        if self.lines is not None and not self._hurried:
            self._gather(self.lines.close())
        self._notice_skipped(0.0)
        self._gather(self._last)
        self._frame()

    def _pause(self) -> float | None:
        """Return how many seconds there is nothing to do unless something comes; None: any number."""
        pause = _FLUSH_INTERVAL if self.lines is not None and self.lines.waiting else None
        if self._gathered or self._is_changed:
            until_due = max(0.0, self._due - time.monotonic())
            pause = until_due if pause is None else min(pause, until_due)
        elif self._render is not None:
            pause = pause or _REDRAW_INTERVAL
        return pause

    def _show(self, piece: _Piece) -> None:
        if self._broken:
            return
        try:
            for data in self._recent(piece) if self._is_terminal else piece.read():
                if self._hurried:
                    return
                if self.lines is not None:
                    data = self.lines.feed(piece.stream, data, piece.time)
                self._gather(data)
        except OSError as error:
            self._gather(
                message(f"warning: cannot read back {piece.copy}: {error.strerror}", "yellow")
            )

    def _recent(self, piece: _Piece) -> Iterator[bytes]:
        """Yield what a terminal shows of a piece: the last lines of a large one."""
        skipped = piece.length - _SCROLLBACK
        if piece.data is not None or piece.length <= _MAX_BACKLOG:
            yield from piece.read()
            return
        piece.offset, piece.length = piece.offset + skipped, _SCROLLBACK
        self._skipped += skipped
        self._notice_skipped(_SKIP_NOTICE_INTERVAL)
        chunks = piece.read()
        first = next(chunks, b"")
        yield first[max(0, first.find(b"\n")) :]  # ends the line that was shown in part
        yield from chunks

    def _notice_skipped(self, interval: float) -> None:
        """Report how much output was skipped, at most once in `interval` seconds."""
        now = time.monotonic()
        if self._skipped and now - self._skip_noticed_at >= interval:
            text = f"{format_size(self._skipped)} of output skipped, faster than this terminal shows it"
            self._gather(message(f"{text}; `orch logs` shows all of it", "yellow"))
            self._skipped, self._skip_noticed_at = 0, now

    def _gather(self, data: bytes) -> None:
        if not data:
            return
        self._gathered.append(data)
        self._size += len(data)
        if self._render is None or self._hurried or self._size >= _FRAME_SIZE:
            self._frame()

    def _frame(self) -> None:
        """Write what was gathered, and draw the rows below it."""
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._size, self._is_changed = 0, False
        if self._render is None and not self._footer.is_drawn:
            self._write(data)
        else:
            self._write(self._footer.frame(data, self._render))
            self._due = time.monotonic() + _FRAME_INTERVAL
            self._is_changed = self._footer.is_late

    def _write(self, data: bytes) -> None:
        if self._torn:
            data = (RESET if self._is_terminal else b"\n") + data
            self._torn = False
        rest = memoryview(data)
        hurried = self._hurried
        while rest and not self._broken:
            if self._hurried and not hurried:
                self._torn = True
                self._footer.forget()
                return
            try:
                rest = rest[os.write(self._descriptor, rest[: self._write_size]) :]
            except BlockingIOError:  # another process has made it non-blocking
                select.select([], [self._descriptor], [], 0.5)
            except OSError as error:
                self._broken = True
                if self._on_broken is not None:
                    self._on_broken(error)


def _widen(descriptor: int) -> None:
    """Let a pipe hold a whole chunk, so that writer and reader take turns less often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # no pipe, or this user has enough pages in pipes already
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
