"""A node for tests: runs scripts with this machine's /bin/sh, no SSH, and fails on request."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import LinkLost, NodeError
from orchestrator.remote.base import Completed

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_BUFFER = 1 << 20


class FakeNode:
    """A `Node` that is this machine.

    `fault` is asked before each script and may return the error to raise in its place. `drop`
    breaks the connection: every channel, and every later `open`, then raises LinkLost.
    """

    def __init__(self, host: Host, fault: Callable[[str], Exception | None] | None = None) -> None:
        self._host = host
        self._fault = fault
        self._channels: list[FakeChannel] = []
        self.scripts: list[str] = []
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

    async def open(self, script: str) -> FakeChannel:
        self.scripts.append(script)
        error = self._fault(script) if self._fault is not None else None
        if error is not None:
            raise error
        if self.lost or self.closed:
            raise LinkLost(f"{self.name}: the connection broke")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            script,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=_BUFFER,
            start_new_session=True,
        )
        channel = FakeChannel(self, process)
        self._channels.append(channel)
        return channel

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        try:
            async with asyncio.timeout(timeout):
                channel = await self.open(script)
                out = await channel.communicate(input)
                return Completed(await channel.wait(), out, channel.stderr)
        except TimeoutError:
            raise NodeError(f"{self.name}: a command did not end within {timeout:g} s") from None

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


class FakeChannel:
    """A `Channel` over the pipes of a local process."""

    def __init__(self, node: FakeNode, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._node = node
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._stderr = bytearray()
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
            out = bytearray()
            while chunk := await self.read():
                out += chunk
            await self._keeping
            return bytes(out)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def read(self, limit: int = 262144) -> bytes:
        data = await self._stdout.read(limit)
        if not data:
            self._check_end()
        return data

    async def readline(self, limit: int = _BUFFER) -> bytes:
        try:
            line = await self._stdout.readline()
        except ValueError:
            line = None
        if line is None or len(line) > limit:
            raise NodeError(f"{self._node.name}: a line of output is longer than {limit} bytes")
        if not line.endswith(b"\n"):
            self._check_end()
        return line

    async def readexactly(self, n: int) -> bytes:
        try:
            return await self._stdout.readexactly(n)
        except asyncio.IncompleteReadError:
            self._check_end()
            raise

    def _check_end(self) -> None:
        if self._node.lost:
            raise LinkLost(f"{self._node.name}: the connection broke")

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
        """Wait until the process has ended and its pipes are closed."""
        await self._process.wait()
        await self._keeping
        while await self._stdout.read(262144):
            pass

    @property
    def stderr(self) -> bytes:
        return bytes(self._stderr)

    @property
    def noise(self) -> bytes:
        return b""

    def close(self) -> None:
        """End the process; unlike sshd, so that no test leaves one behind."""
        self._stdin.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
