"""Connect this process's terminal to a remote program: it gets the keys, and its output is shown here.

`Enter ~ .` disconnects, as in ssh. The terminal is restored however it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import termios
import tty
from collections.abc import Callable
from typing import Any

from orchestrator.ui.stdout import write_all

_READ_SIZE = 1 << 16


class Keys:
    """Finds `Enter ~ .` in what is typed; `~~` is one tilde."""

    def __init__(self) -> None:
        self._is_line_start, self._tilde = True, False
        self.has_left = False

    def take(self, typed: bytes) -> bytes:
        """Return what is sent to the other side; nothing once `has_left` is set."""
        passed = bytearray()
        for byte in typed:
            if self.has_left:
                break
            if self._tilde:
                self._tilde = False
                if byte == ord("."):
                    self.has_left = True
                    break
                if byte != ord("~"):
                    passed += b"~"
                passed.append(byte)
            elif byte == ord("~") and self._is_line_start:
                self._tilde = True
                continue
            else:
                passed.append(byte)
            self._is_line_start = byte in b"\r\n"
        return bytes(passed)


class RawTerminal:
    """stdin and stdout of this process; a terminal is raw between `take` and `release`."""

    def __init__(self) -> None:
        self._is_terminal = os.isatty(0)
        self._keys = Keys()
        self._mode: list[Any] | None = None

    @property
    def has_left(self) -> bool:
        """Whether the user has typed `Enter ~ .`."""
        return self._keys.has_left

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and lines; None if stdin is not a terminal."""
        return tuple(os.get_terminal_size(0)) if self._is_terminal else None  # type: ignore[return-value]

    def take(self) -> None:
        """Send all keys to the other side, Ctrl-C too."""
        if self._is_terminal:
            self._mode = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)  # keeps what was typed ahead

    def release(self) -> None:
        """Restore the terminal."""
        if self._mode is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._mode)
            self._mode = None

    async def read(self) -> bytes:
        """Return what was typed; b"" at the end of stdin, or when the user disconnects."""
        while not self.has_left:
            data = await _read(0)
            passed = self._keys.take(data) if self._is_terminal else data
            if passed or not data:
                return passed
        return b""

    async def write(self, data: bytes) -> None:
        """Write to stdout, however slowly that is read."""
        await asyncio.to_thread(write_all, 1, data)

    def on_resize(self, resized: Callable[[int, int], None]) -> None:
        """Call `resized` with the columns and lines whenever they change."""
        if self._is_terminal:
            asyncio.get_running_loop().add_signal_handler(
                signal.SIGWINCH, lambda: resized(*os.get_terminal_size(0))
            )


async def _read(descriptor: int) -> bytes:
    """Return what can be read, as soon as there is anything; b"" if the terminal is gone."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a regular file is always ready
        return os.read(descriptor, _READ_SIZE)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    try:
        return os.read(descriptor, _READ_SIZE)
    except OSError:  # EIO: hangup
        return b""
