"""A node that is reached through programs of this machine, one for each script: its pipes are the channel.

What a transport needs that calls `docker exec -i`, `kubectl exec -i` or the like, and what tests use.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import ConnectionLost, NodeError
from orchestrator.remote.base import Completed, read_all
from orchestrator.remote.buffer import LONGEST_LINE, read_line, too_long

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_BUFFER = 1 << 20
_GONE_TIMEOUT = 5.0  # seconds


class ProcessNode:
    """The `Node` whose scripts are run by `command`: it returns a program with its arguments.

    That program runs the script in a POSIX shell on the node, with its own standard streams, and exits as
    it does. `drop` breaks the connection: all channels and later calls of `open` raise ConnectionLost.
    """

    def __init__(self, host: Host, command: Callable[[str], Sequence[str]]) -> None:
        self._host = host
        self._command = command
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
        if self.lost or self.closed:
            raise ConnectionLost(self.name, "the connection broke")
        pipe = asyncio.subprocess.PIPE
        words = self._command(script)
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                limit=_BUFFER,
                start_new_session=True,
            )
        except OSError as error:
            raise NodeError(self.name, f"{words[0]} cannot be started: {error.strerror}") from error
        channel = ProcessChannel(self, process)
        self._channels.add(channel)
        return channel

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        try:
            async with asyncio.timeout(timeout):
                channel = await self.open(script)
                try:
                    out = await channel.communicate(input)
                    return Completed(await channel.wait(), out, channel.stderr)
                finally:
                    channel.close()
        except TimeoutError:
            raise NodeError(self.name, f"a command did not end within {timeout:g} s") from None

    def drop(self) -> None:
        """Break the connection."""
        self.lost = True
        for channel in self._channels:
            channel.close()

    async def close(self) -> None:
        self.closed = True
        for channel in self._channels:
            channel.close()
            await channel.gone()


class ProcessChannel:
    """The `Channel` over the pipes of a program here, which leads a session of its own."""

    def __init__(self, node: ProcessNode, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._node = node
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._stderr = bytearray()
        self.heard_at = time.monotonic()
        self._keeping = asyncio.create_task(self._keep_stderr(process.stderr))

    async def _keep_stderr(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(65536):
            self._stderr += data
            del self._stderr[:-65536]

    async def communicate(self, data: bytes) -> bytes:
        """Write all of `data`, read to the end."""

        async def feed() -> None:
            await self.write(data)
            self.write_eof()

        feeding = asyncio.create_task(feed())
        try:
            out = await read_all(self._node.name, self)
            await self._keeping
            return out
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def read(self, limit: int = 262144) -> bytes:
        data = await self._stdout.read(limit)
        self.heard_at = time.monotonic()
        if not data:
            self._check_end()
        return data

    async def readline(self, limit: int = LONGEST_LINE) -> bytes:
        line = await read_line(self._stdout, limit)
        self.heard_at = time.monotonic()
        if line is None:
            raise too_long(self._node.name, limit)
        if not line.endswith(b"\n"):
            self._check_end()
        return line

    async def readexactly(self, n: int) -> bytes:
        try:
            data = await self._stdout.readexactly(n)
        except asyncio.IncompleteReadError:
            self._check_end()
            raise
        self.heard_at = time.monotonic()
        return data

    def _check_end(self) -> None:
        if self._node.lost:
            raise ConnectionLost(self._node.name, "the connection broke")

    async def write(self, data: bytes) -> None:
        self._check_end()
        with suppress(BrokenPipeError, ConnectionResetError):  # it no longer reads
            self._stdin.write(data)
            await self._stdin.drain()

    def write_eof(self) -> None:
        self._stdin.close()

    async def wait(self) -> int:
        code = await self._process.wait()
        await self._keeping  # all of stderr is there once the exit code is known
        self._check_end()
        return code if code >= 0 else 128 - code

    async def gone(self) -> None:
        """Wait until the program has ended and its pipes are closed, for a bounded time: what has
        left the session may hold one open.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_GONE_TIMEOUT):
                while await self._stdout.read(
                    262144
                ):  # first: what is not read keeps the pipes open
                    pass
                await self._process.wait()
                await self._keeping

    @property
    def stderr(self) -> bytes:
        return bytes(self._stderr)

    @property
    def noise(self) -> bytes:
        return b""

    def close(self) -> None:
        """End the program, and all that it has started in its session."""
        self._stdin.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
