"""Write to a terminal or a pipe in a thread of its own, however slowly it is read.

One display a file: what is written there comes in the order in which it happened, and nobody else
ever waits for it. Output that was not taken yet waits in memory up to a bound, and beyond that in the
controller's copy of the stream, from where it is read back. A terminal that falls far behind is brought up
to date instead: what would have left its scrollback before anybody could read it is left out, and said so.
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

from orchestrator.events import Output
from orchestrator.logs.lines import Lines
from orchestrator.logs.stream import Stream
from orchestrator.ui.stderr import message
from orchestrator.ui.terminal import MEND, Footer, Render
from orchestrator.util.text import format_size

_IN_MEMORY = 16 << 20
_IN_MEMORY_FOR_TERMINAL = 4 << 20
_FAR_BEHIND = 4 << 20  # bytes of one stream that wait in its copy for a terminal
_SCROLLBACK = 1 << 20  # of which so many are shown: ten thousand lines
_SAY_LEFT_OUT = 1.0  # seconds between two words of that
_READ_BACK = 1 << 20
_FLUSH_EVERY = 0.25
_MESSAGES = 500  # that wait; each divides what waits in the copies, too
_LOG_LINES = 5000  # that wait besides
_FRAME = 1 << 20  # bytes that are written between erasing and drawing what stands below them
_FRAME_EVERY = 1 / 12
_REDRAW_EVERY = 1.0  # while nothing happens: clocks go on
_STRETCH = 8 << 10  # a terminal takes a write as a whole: between two we can still be told to stop
_DRAIN_TIMEOUT = 1.5  # seconds for them once nobody waits for the output any more


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


class _LogLine(bytes):
    """A line of orch's log that waits. However many come, messages still find room."""


class _Queue:
    """Output and messages in the order in which they came, in bounded memory however long they wait.

    Output that does not fit waits in the copy, as one piece a stream, which grows by what comes next
    until a message comes in between.
    """

    def __init__(self, in_memory: int) -> None:
        self._most_in_memory = in_memory
        self._items: deque[_Piece | bytes] = deque()
        self._growing: dict[Stream, _Piece] = {}
        self._in_memory = 0
        self._messages = self._log_lines = self._left_out = 0
        self._woken = self._closed = False
        self._changed = threading.Condition()

    def put(self, output: Output) -> None:
        length = len(output.data)
        with self._changed:
            growing = self._growing.get(output.stream)
            if output.hole:  # a line of a few bytes, which is not what stands in the copy
                self._growing.pop(output.stream, None)
            elif growing is not None and growing.offset + growing.length == output.offset:
                growing.length += length
                return
            fits = output.hole > 0 or self._in_memory + length <= self._most_in_memory
            data = output.data if fits else None
            piece = _Piece(output.stream, output.time, data, output.copy, output.offset, length)
            if fits:
                self._in_memory += length
            else:
                self._growing[output.stream] = piece
            self._items.append(piece)
            self._changed.notify()

    def say(self, said: bytes) -> None:
        is_log = isinstance(said, _LogLine)
        with self._changed:
            if self._log_lines == _LOG_LINES if is_log else self._messages == _MESSAGES:
                self._left_out += 1
                return
            if is_log:
                self._log_lines += 1
            else:
                self._messages += 1
            self._growing.clear()
            self._items.append(said)
            self._changed.notify()

    def get(self, timeout: float | None) -> _Piece | bytes | None:
        """Return what is next; None when there was nothing for `timeout` seconds, or ever will be, or
        after `wake`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._woken or self._closed, timeout)
            self._woken = False
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, bytes):
                return self._said(item)
            if self._growing.get(item.stream) is item:
                del self._growing[item.stream]
            if item.data is not None:
                self._in_memory -= item.length
            return item

    def _said(self, said: bytes) -> bytes:
        if isinstance(said, _LogLine):
            self._log_lines -= 1
        else:
            self._messages -= 1
        left_out, self._left_out = self._left_out, 0
        return said + (b"orch: %d messages are left out\n" % left_out if left_out else b"")

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def drop_output(self) -> None:
        """Forget the output that waits; messages stay."""
        with self._changed:
            self._items = deque(item for item in self._items if isinstance(item, bytes))
            self._growing.clear()

    @property
    def is_done(self) -> bool:
        return self._closed and not self._items


class Display:
    """Shows output, through `lines`, and messages on `descriptor`.

    `on_broken` is told, once, when nobody reads any more.
    """

    def __init__(self, descriptor: int, on_broken: Callable[[OSError], None] | None = None) -> None:
        self.lines: Lines | None = None
        """What output goes through (None: nothing); to be set before the first output."""
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._is_terminal = os.isatty(descriptor)
        self._queue = _Queue(_IN_MEMORY_FOR_TERMINAL if self._is_terminal else _IN_MEMORY)
        self._left_out, self._left_out_said = 0, 0.0
        self._stretch = _STRETCH if self._is_terminal else _FRAME
        self._render: Render | None = None
        self._footer = Footer(descriptor)
        self._gathered: list[bytes] = []
        self._size = 0
        self._due = time.monotonic() + _FRAME_EVERY  # nothing is drawn for what takes a moment
        self._broken = self._hurried = self._torn = self._news = False
        self._last = b""
        _widen(descriptor)
        self._done = threading.Event()
        threading.Thread(target=self._run, name="display", daemon=True).start()

    def show(self, output: Output) -> None:
        """Show this output when its turn comes; returns at once."""
        self._queue.put(output)

    def say(self, said: bytes) -> None:
        """Show whole lines of orch's own, after the output so far; returns at once."""
        self._queue.say(said)

    def log(self, line: bytes) -> None:
        """Show a line of orch's log, after the output so far; returns at once."""
        self._queue.say(_LogLine(line))

    def draw(self, footer: Render | None) -> None:
        """Let this stand below all else from now on (None: nothing); only for a terminal."""
        self._render = footer
        self.refresh()

    def refresh(self) -> None:
        """Let what stands below be drawn anew soon."""
        self._news = True
        self._queue.wake()

    def close(self, last: bytes = b"", patience: float | None = None) -> None:
        """Show what is left, `last` after it, and return when all of it is written.

        After `patience` seconds (None: any number), or when this is interrupted, output that still
        waits is forgotten, and messages have a moment left.
        """
        self._last = last
        self._queue.close()
        try:
            deadline = None if patience is None else time.monotonic() + patience
            # Not Thread.join: once a signal has interrupted that, it takes the thread for ended. In
            # steps, so that a signal is heard.
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
            if lines is not None and lines.waiting and now - flushed >= _FLUSH_EVERY:
                flushed = now
                self._gather(lines.flush(now))
            if now >= self._due:
                self._frame()
        self._render = None
        if self.lines is not None and not self._hurried:
            self._gather(self.lines.close())
        self._say_left_out(0.0)
        self._gather(self._last)
        self._frame()

    def _pause(self) -> float | None:
        """Return how long there is nothing to do unless something comes."""
        pause = _FLUSH_EVERY if self.lines is not None and self.lines.waiting else None
        if self._gathered or self._news:
            until_due = max(0.0, self._due - time.monotonic())
            pause = until_due if pause is None else min(pause, until_due)
        elif self._render is not None:
            pause = pause or _REDRAW_EVERY
        return pause

    def _show(self, piece: _Piece) -> None:
        if self._broken:
            return
        try:
            for data in self._catch_up(piece) if self._is_terminal else piece.read():
                if self._hurried:
                    return
                if self.lines is not None:
                    data = self.lines.feed(piece.stream, data, piece.time)
                self._gather(data)
        except OSError as error:
            self._gather(
                message(f"warning: cannot read back {piece.copy}: {error.strerror}", "yellow")
            )

    def _catch_up(self, piece: _Piece) -> Iterator[bytes]:
        """Yield what a person at a terminal is to see of a piece: of a very long one its last lines."""
        late = piece.length - _SCROLLBACK
        if piece.data is not None or piece.length <= _FAR_BEHIND:
            yield from piece.read()
            return
        piece.offset, piece.length = piece.offset + late, _SCROLLBACK
        self._left_out += late
        self._say_left_out(_SAY_LEFT_OUT)
        chunks = piece.read()
        first = next(chunks, b"")
        yield first[max(0, first.find(b"\n")) :]  # the line that was shown in part ends here
        yield from chunks

    def _say_left_out(self, pause: float) -> None:
        """Say how much was left out, at most once in `pause` seconds."""
        now = time.monotonic()
        if self._left_out and now - self._left_out_said >= pause:
            amount = format_size(self._left_out)
            text = f"{amount} of output left out here, faster than this terminal takes it"
            self._gather(message(f"{text}; `orch logs` shows all of it", "yellow"))
            self._left_out, self._left_out_said = 0, now

    def _gather(self, data: bytes) -> None:
        if not data:
            return
        self._gathered.append(data)
        self._size += len(data)
        if self._render is None or self._hurried or self._size >= _FRAME:
            self._frame()

    def _frame(self) -> None:
        """Write what was gathered, and draw what stands below it."""
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._size, self._news = 0, False
        if self._render is None and not self._footer.is_drawn:
            self._write(data)
        else:
            self._write(self._footer.frame(data, self._render))
            self._due = time.monotonic() + _FRAME_EVERY
            self._news = self._footer.is_late

    def _write(self, data: bytes) -> None:
        if self._torn:
            data = (MEND if self._is_terminal else b"\n") + data
            self._torn = False
        rest = memoryview(data)
        hurried = self._hurried
        while rest and not self._broken:
            if self._hurried and not hurried:
                self._torn = True
                self._footer.forget()
                return
            try:
                rest = rest[os.write(self._descriptor, rest[: self._stretch]) :]
            except BlockingIOError:  # somebody made it non-blocking: wait as if it were not
                select.select([], [self._descriptor], [], 0.5)
            except OSError as error:
                self._broken = True
                if self._on_broken is not None:
                    self._on_broken(error)


def _widen(descriptor: int) -> None:
    """Let a pipe hold as much as a chunk has, so that writer and reader take turns less often."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # no pipe, or this user has enough pages in pipes already
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
