"""A node reached through local programs, one for each script; the program's pipes are the channel.

`command/` has transports of this kind; tests, and transports of other packages, use it too.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import ConnectionLost, NodeError
from orchestrator.remote.base import Completed
from orchestrator.remote.channel import StreamChannel

if TYPE_CHECKING:
    from orchestrator.inventory import Host

C = TypeVar("C", bound="ProcessChannel")

_CLOSE_TIMEOUT = 5.0  # seconds
_BROKEN = "the connection broke"


class ProcessNode:
    """The `Node` whose scripts are run by the program and arguments that `command` returns.

    The program runs the script in a POSIX shell on the node, on its own standard streams, and exits with
    its code; it has the variables of `environment` (None: those of orch). `drop` breaks the connection:
    every channel, and every later `open`, raises ConnectionLost.
    """

    def __init__(
        self,
        host: Host,
        command: Callable[[str], Sequence[str]],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._command = command
        self._environment = environment
        self._channels: set[ProcessChannel] = set()
        self.lost = False
        self.closed = False

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def host(self) -> Host:
        return self._host

    @property
    def warnings(self) -> tuple[str, ...]:
        return ()

    async def open(self, script: str) -> ProcessChannel:
        return await self._start(script, lambda: ProcessChannel(self.name))

    async def _start(self, script: str, make_channel: Callable[[], C]) -> C:
        """Start the program that runs `script`. Raises ConnectionLost and NodeError."""
        if self.lost or self.closed:
            raise ConnectionLost(self.name, _BROKEN)
        argv = self._command(script)
        try:
            _, channel = await asyncio.get_running_loop().subprocess_exec(
                make_channel, *argv, start_new_session=True, env=self._environment
            )
        except OSError as error:
            raise NodeError(self.name, f"{argv[0]} cannot be started: {error.strerror}") from error
        self._channels = {each for each in self._channels if not each.is_closed} | {channel}
        return channel

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        return await (await self.open(script)).run_to_end(input, timeout)

    def drop(self, why: str = _BROKEN) -> None:
        """Break the connection."""
        self.lost = True
        for channel in self._channels:
            channel.drop(why)

    async def close(self) -> None:
        self.closed = True
        for channel in self._channels:
            channel.close()
        await asyncio.gather(*(channel.wait_closed() for channel in self._channels))


class ProcessChannel(StreamChannel, asyncio.SubprocessProtocol):
    """The `Channel` over the pipes of a local program, which runs in its own session."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self._process: Any = None
        self._open_pipes = {1, 2}
        self._is_dropped = False
        self._closed = asyncio.Event()

    @property
    def program_exit_code(self) -> int | None:
        """The exit code of the program, 128 + N if signal N ended it; None while it runs."""
        code: int | None = self._process.get_returncode()
        return 128 - code if code is not None and code < 0 else code

    @property
    def is_closed(self) -> bool:
        """Whether the program has ended and its pipes are closed."""
        return self._closed.is_set()

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended, or the connection to it is lost or closed."""
        return self._ended.is_set()

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return int(self._process.get_pid())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = transport
        self._stdin = self._process.get_pipe_transport(0)
        self._reader.set_source(self._process.get_pipe_transport(1))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._on_data(data, is_stderr=fd == 2)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open_pipes.discard(fd)
        if fd == 0:
            self.resume_writing()
        elif fd == 1:
            self._is_complete = not self._is_dropped
            self._reader.feed_eof()
        self.process_exited()

    def process_exited(self) -> None:
        """Report the exit code once all of stderr has arrived."""
        code = self.program_exit_code
        if code is not None and 2 not in self._open_pipes and not self._is_dropped:
            self._on_exit(code)

    def connection_lost(self, exc: Exception | None) -> None:
        self._process.close()
        self._on_closed()
        self._closed.set()

    def drop(self, why: str = _BROKEN) -> None:
        """End the program as if the connection to it broke."""
        self._is_dropped, self._is_complete, self._exit_code = True, False, None
        self._lost = why
        self._on_closed()
        self.close()

    def close(self) -> None:
        """Kill the program and all processes in its session."""
        if self._process.get_returncode() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        for fd in (0, 1, 2):
            self._process.get_pipe_transport(fd).close()

    async def wait_closed(self) -> None:
        """Wait at most 5 s until the program has ended and its pipes are closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._closed.wait()
        self._process.close()
