"""A terminal for tests: a pty, and what would be on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyte


class Terminal:
    """A terminal: what is written to `descriptor` appears on `screen` when `look` is called."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.master, self.descriptor = pty.openpty()
        self.screen = pyte.HistoryScreen(columns, lines, history=200_000)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if (columns, lines) != (self.screen.columns, self.screen.lines):
            self.screen.resize(lines, columns)

    def look(self, seconds: float = 0.0) -> list[str]:
        """Read what was written so far, and for `seconds` more; return the rows in use."""
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            if select.select([self.master], [], [], left)[0]:
                data = os.read(self.master, 1 << 16)
                self.written += data
                self._stream.feed(data)
            elif not left:
                return self.rows

    @property
    def rows(self) -> list[str]:
        """The screen, without the empty lines at its end."""
        rows = [row.rstrip() for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    @property
    def everything(self) -> list[str]:
        """The scrollback and the screen."""
        history = [
            "".join(line[column].data for column in range(self.screen.columns)).rstrip()
            for line in self.screen.history.top
        ]
        return history + self.rows

    def wait_for(self, seen: Callable[[list[str]], bool], seconds: float = 10) -> list[str]:
        """Read until `seen` is true of the rows; return them."""
        deadline = time.monotonic() + seconds
        while not (self.look(0.02) and seen(self.rows)):
            assert time.monotonic() < deadline, "\n".join(self.everything)
        return self.rows

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self.master)


@contextmanager
def terminal(columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    made = Terminal(columns, lines)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def redirected(**files: int) -> Iterator[None]:
    """Redirect this process's `stdout` and `stderr` to these descriptors."""
    numbers = {"stdout": 1, "stderr": 2}
    saved = {numbers[name]: os.dup(numbers[name]) for name in files}
    try:
        for name, descriptor in files.items():
            os.dup2(descriptor, numbers[name])
        yield
    finally:
        for number, descriptor in saved.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
