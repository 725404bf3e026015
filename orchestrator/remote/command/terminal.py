"""A local program in a pseudo-terminal of this machine, as a channel: `docker exec -it`, for example."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from orchestrator.errors import NodeError
from orchestrator.remote.base import Screen
from orchestrator.remote.channel import StreamChannel

_OUTPUT_TIMEOUT = 1.0  # seconds after the exit; processes left behind may hold the terminal open
_HANGUP_TIMEOUT = 2.0  # seconds in which the program must end after it


class TerminalProgram(StreamChannel):
    """The `TerminalChannel` over the terminal in which a program runs; its exit code is the program's."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self._terminal: int | None = None
        self._pipes: list[Any] = []
        self._output_ended = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, node: str, argv: Sequence[str], screen: Screen) -> TerminalProgram:
        """Start the program in a terminal of the size of `screen`. Raises NodeError."""
        channel = cls(node)
        ours, theirs = pty.openpty()
        try:
            _set_size(theirs, screen.columns, screen.lines)
            channel._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=_take_terminal,
            )
        except OSError as error:
            os.close(ours)
            raise NodeError(node, f"{argv[0]} cannot be started: {error.strerror}") from error
        finally:
            os.close(theirs)
        await channel._begin(ours)
        return channel

    async def _begin(self, terminal: int) -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.fdopen(terminal, "rb", 0), os.fdopen(os.dup(terminal), "wb", 0)
        self._terminal = terminal
        source, _ = await loop.connect_read_pipe(lambda: _Output(self), reading)
        self._stdin, _ = await loop.connect_write_pipe(lambda: _Input(self), writing)
        self._reader.set_source(source)
        self._pipes = [source, self._stdin]
        self._waiting = asyncio.create_task(self._await_exit())

    async def _await_exit(self) -> None:
        assert self._process is not None
        code = await self._process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_OUTPUT_TIMEOUT):
                await self._output_ended.wait()
        self._is_complete = True
        self._on_exit(128 - code if code < 0 else code)
        self._on_closed()

    def resize(self, columns: int, lines: int) -> None:
        """Report the size of the user's terminal to the program."""
        if self._terminal is not None:
            _set_size(self._terminal, columns, lines)

    def close(self) -> None:
        """Hang up: a program that is killed at once may leave its command behind. Kill it if it stays."""
        for pipe in self._pipes:
            pipe.close()
        process = self._process
        if process is not None and process.returncode is None:
            asyncio.get_running_loop().call_later(_HANGUP_TIMEOUT, _kill, process)

    async def wait_closed(self) -> None:
        """Wait until the program has ended."""
        if self._waiting is not None:
            await self._waiting


class _Input(asyncio.BaseProtocol):
    def __init__(self, channel: TerminalProgram) -> None:
        self._channel = channel

    def pause_writing(self) -> None:
        self._channel.pause_writing()

    def resume_writing(self) -> None:
        self._channel.resume_writing()


class _Output(asyncio.Protocol):
    def __init__(self, channel: TerminalProgram) -> None:
        self._channel = channel

    def data_received(self, data: bytes) -> None:
        self._channel._on_data(data, is_stderr=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel._terminal = None
        self._channel._output_ended.set()


def _take_terminal() -> None:
    """Make standard input the terminal of the session, in the child."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _set_size(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
