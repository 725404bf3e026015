"""Lend this process's terminal to a program elsewhere: keys go there, and what it writes comes here.

`Enter ~ .` hangs up, as in ssh. However it ends, the terminal is as it was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import termios
import tty
from collections.abc import Callable
from typing import Any

from orchestrator.ui.printer import write_all

_PIECE = 1 << 16


class Keys:
    """What is typed, looked through for `Enter ~ .`; `~~` is one tilde."""

    def __init__(self) -> None:
        self._is_line_start, self._tilde = True, False
        self.has_left = False

    def take(self, typed: bytes) -> bytes:
        """Return what goes to the other side; after `has_left`, nothing does any more."""
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
        """Whether the person has typed `Enter ~ .`."""
        return self._keys.has_left

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and lines; None where stdin is no terminal."""
        return tuple(os.get_terminal_size(0)) if self._is_terminal else None  # type: ignore[return-value]

    def take(self) -> None:
        """Have all keys go to the other side, Ctrl-C too."""
        if self._is_terminal:
            self._mode = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead stays

    def release(self) -> None:
        """Make the terminal what it was."""
        if self._mode is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._mode)
            self._mode = None

    async def read(self) -> bytes:
        """Return what was typed; b"" at the end of stdin, or when the person leaves."""
        while not self.has_left:
            data = await _read(0)
            passed = self._keys.take(data) if self._is_terminal else data
            if passed or not data:
                return passed
        return b""

    async def write(self, data: bytes) -> None:
        """Write it to stdout, as fast as that takes it."""
        await asyncio.to_thread(write_all, 1, data)

    def on_resize(self, tell: Callable[[int, int], None]) -> None:
        """Have the columns and lines told when they change."""
        if self._is_terminal:
            asyncio.get_running_loop().add_signal_handler(
                signal.SIGWINCH, lambda: tell(*os.get_terminal_size(0))
            )


async def _read(descriptor: int) -> bytes:
    """Return what there is to read, once there is something; a terminal that is gone has ended."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a regular file is always ready
        return os.read(descriptor, _PIECE)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    try:
        return os.read(descriptor, _PIECE)
    except OSError:  # EIO: it was hung up
        return b""
