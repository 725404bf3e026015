"""A command on a node as a channel of bytes, over a session of a master."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from orchestrator.remote.base import Screen
from orchestrator.remote.channel import StreamChannel
from orchestrator.remote.openssh import mux

_BROKEN = "the connection broke"
_KILLED = 255  # as ssh exits if a signal ended the command: the master does not pass on which
_STDERR_TIMEOUT = 1.0  # seconds after the exit; processes left behind may hold it open


class OpensshChannel(StreamChannel):
    """The `Channel` over a session of the master at `path`; it may have a pseudo-terminal."""

    def __init__(self, node: str, path: str) -> None:
        super().__init__(node)
        self._lost = _BROKEN
        self._path = path
        self._input: Any = None  # asyncio's transport of stdin, until it is closed
        self._pipes: list[Any] = []  # those of stdout and stderr
        self._stderr_ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: mux.Session | None = None
        self._is_closed = False
        self._terminal: int | None = None
        self._master: int | None = None  # its process id

    @classmethod
    async def open(
        cls, node: str, path: str, request: mux.Request, screen: Screen | None
    ) -> OpensshChannel:
        """Open the session that is requested, in a terminal like `screen` unless None.

        Raises mux.Gone and mux.Refused.
        """
        channel = cls(node, path)
        if screen is None:
            await channel._open_pipes(request)
        else:
            channel._master = await mux.find_master(path)
            await channel._open_terminal(replace(request, terminal=screen.kind), screen)
        return channel

    async def _open_pipes(self, request: mux.Request) -> None:
        pairs = [os.pipe() for _ in range(3)]
        theirs = [pairs[0][0], pairs[1][1], pairs[2][1]]
        ours = [pairs[0][1], pairs[1][0], pairs[2][0]]
        try:
            self._session = await mux.open_session(self._path, request, theirs)
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(theirs)
        await self._begin(*ours)

    async def _open_terminal(self, request: mux.Request, screen: Screen) -> None:
        ours, theirs = pty.openpty()
        try:
            _set_size(theirs, screen.columns, screen.lines)
            # The master reads the modes of the node's terminal from this one.
            self._session = await mux.open_session(self._path, request, [theirs] * 3)
            tty.setraw(theirs)
        except BaseException:
            _close([ours])
            raise
        finally:
            _close([theirs])
        self._terminal = ours
        self._stderr_ended.set()
        await self._begin(os.dup(ours), ours)

    async def _begin(self, stdin: int, stdout: int, stderr: int | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._input, _ = await loop.connect_write_pipe(lambda: _Input(self), _file(stdin, "wb"))
        self._stdin = self._input
        source, _ = await loop.connect_read_pipe(lambda: _Output(self), _file(stdout, "rb"))
        self._pipes.append(source)
        self._reader.set_source(source)
        if stderr is not None:
            errors, _ = await loop.connect_read_pipe(lambda: _Errors(self), _file(stderr, "rb"))
            self._pipes.append(errors)
        self._start(self._await_exit())

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await_exit(self) -> None:
        """Report the exit code once all of standard error has arrived, or that the connection broke."""
        assert self._session is not None
        try:
            code = await self._session.exit_code()
        except mux.NoTerminal:
            self._lost = "sshd gives no terminal"
            code = None
        else:
            if code is None and await self._is_up():
                code = _KILLED
        if code is None:
            self.close()
            self._on_closed()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_STDERR_TIMEOUT):
                await self._stderr_ended.wait()
        self._on_exit(code)

    def _on_stdout_ended(self) -> None:
        self._start(self._end_output())

    async def _end_output(self) -> None:
        """Report the end of the output, after finding out whether the connection broke."""
        self._is_complete = self._exit_code is not None or await self._is_up()
        self._reader.feed_eof()

    async def _is_up(self) -> bool:
        """Whether the session ended, and not the connection."""
        return not self._is_closed and await mux.find_master(self._path) is not None

    def resize(self, columns: int, lines: int) -> None:
        """Report the size of the local terminal to the node."""
        if self._terminal is None or self._master is None:
            return
        with suppress(OSError):  # it has ended
            _set_size(self._terminal, columns, lines)
            os.kill(self._master, signal.SIGWINCH)

    def close(self) -> None:
        self._is_closed = True
        given = self._input
        if given is not None and (given.get_write_buffer_size() or not given.is_closing()):
            given.abort()  # asyncio fails if it is closing already
        for pipe in self._pipes:
            pipe.close()
        if self._session is not None:
            self._session.close()

    async def wait_closed(self) -> None:
        """Wait until all that `close` ends has ended."""
        await asyncio.gather(*self._tasks)


class _Input(asyncio.BaseProtocol):
    def __init__(self, channel: OpensshChannel) -> None:
        self._channel = channel

    def pause_writing(self) -> None:
        self._channel.pause_writing()

    def resume_writing(self) -> None:
        self._channel.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel._input = None
        self._channel.resume_writing()


class _Output(asyncio.Protocol):
    def __init__(self, channel: OpensshChannel) -> None:
        self._channel = channel

    def data_received(self, data: bytes) -> None:
        self._channel._on_data(data, is_stderr=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel._terminal = None
        self._channel._on_stdout_ended()


class _Errors(asyncio.Protocol):
    def __init__(self, channel: OpensshChannel) -> None:
        self._channel = channel

    def data_received(self, data: bytes) -> None:
        self._channel._on_data(data, is_stderr=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel._stderr_ended.set()


def _file(descriptor: int, mode: str) -> Any:
    return os.fdopen(descriptor, mode, buffering=0)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _set_size(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
