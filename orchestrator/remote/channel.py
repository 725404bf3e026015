"""The base of channels: the output of a command in a bounded buffer, its input, and its exit code.

Bytes go from the connection into the buffer. While nothing reads them, the source is paused, and the
command waits. A channel uses at most twice the limit of its buffer in memory, plus what the connection
has in transit.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from orchestrator.errors import ConnectionLost, NodeError
from orchestrator.remote.base import Completed
from orchestrator.remote.buffer import Buffer
from orchestrator.util.text import printable

CHUNK_SIZE = 256 << 10
_BUFFER_SIZE = 1 << 20  # the source is paused at twice this
_MAX_STDERR = 64 << 10
_MAX_LINE = 1 << 20
_MAX_OUTPUT = 1 << 20  # of a command that `run_to_end` runs


class StreamChannel:
    """A `Channel`. A subclass calls the `_on_` methods, and sets `_stdin` while the command has one."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._reader = Buffer(_BUFFER_SIZE)
        self._stdin: Any = None  # has write(), write_eof() and is_closing()
        self._stderr = bytearray()
        self._noise = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = asyncio.Event()
        self._exit_code: int | None = None
        self._is_complete = False  # all output has arrived
        self._lost = "the connection ended before the command did"
        self.heard_at = time.monotonic()

    async def started(self, marker: bytes) -> None:
        """Wait for `marker` on standard output; output before it is noise.

        Raises asyncio.IncompleteReadError, with the output, if the output ends without the marker, and
        asyncio.LimitOverrunError if a MiB arrives without it.
        """
        self._noise = (await self._reader.readuntil(marker)).removesuffix(marker)

    def _on_data(self, data: bytes, *, is_stderr: bool) -> None:
        self.heard_at = time.monotonic()
        if is_stderr:
            self._stderr += data
            del self._stderr[:-_MAX_STDERR]
        else:
            self._reader.feed_data(data)

    def _on_exit(self, code: int) -> None:
        self._exit_code = code
        self._ended.set()

    def _on_closed(self) -> None:
        """End every wait; nothing more comes from the command."""
        self._stdin = None
        self._reader.feed_eof()
        self._writable.set()
        self._ended.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def read(self, limit: int = 262144) -> bytes:
        data = await self._reader.read(limit)
        if not data:
            self._check_end()
        return data

    async def readline(self, limit: int = _MAX_LINE) -> bytes:
        line = b""
        while len(line) <= limit:
            try:
                line += await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                line += error.partial
            except asyncio.LimitOverrunError as error:
                line += await self._reader.readexactly(error.consumed)
                continue
            break
        if len(line) > limit:
            raise NodeError(
                self._node,
                f"a line of its output is longer than {limit:,} bytes",
                remedy=f"check that `python:` of {self._node} in the inventory is an interpreter, and not "
                "a script that prints something of its own",
            )
        if not line.endswith(b"\n"):
            self._check_end()
        return line

    async def readexactly(self, n: int) -> bytes:
        try:
            return await self._reader.readexactly(n)
        except asyncio.IncompleteReadError:
            self._check_end()
            raise

    def _check_end(self) -> None:
        """Raise ConnectionLost if the output ends because the connection broke."""
        if not self._is_complete:
            raise ConnectionLost(self._node, self._lost)

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), CHUNK_SIZE):
            await self._writable.wait()
            if self._stdin is None and self._exit_code is None:
                raise ConnectionLost(self._node, self._lost)
            if self._stdin is None or self._stdin.is_closing():
                return  # the command has ended; see its exit code
            self._stdin.write(bytes(view[start : start + CHUNK_SIZE]))
        await self._writable.wait()

    def write_eof(self) -> None:
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write_eof()

    async def wait(self) -> int:
        await self._ended.wait()
        if self._exit_code is None:
            raise ConnectionLost(self._node, self._lost)
        return self._exit_code

    async def run_to_end(self, data: bytes, timeout: float, remedy: str | None = None) -> Completed:
        """Write `data`, read all output, and close the channel.

        Raises NodeError after `timeout` seconds, or if the command prints more than a MiB.
        """

        async def feed() -> None:
            await self.write(data)
            self.write_eof()

        feeding = asyncio.create_task(feed())
        try:
            async with asyncio.timeout(timeout):
                output = await self._read_all()
                return Completed(await self.wait(), output, self.stderr)
        except TimeoutError:
            message = f"a command did not end within {timeout:g} s"
            raise NodeError(self._node, message, remedy=remedy) from None
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            self.close()

    async def _read_all(self) -> bytes:
        output = bytearray()
        while chunk := await self.read():
            output += chunk
            if len(output) > _MAX_OUTPUT:
                raise NodeError(
                    self._node,
                    f"a command of orch's printed more than {_MAX_OUTPUT:,} bytes: "
                    f"{printable(bytes(output[:200]), 80)}",
                    remedy=f"check what prints so much there: `python:` of {self._node} in the inventory, "
                    "or a start-up file of the login shell",
                )
        return bytes(output)

    @property
    def stderr(self) -> bytes:
        return bytes(self._stderr)

    @property
    def noise(self) -> bytes:
        return self._noise

    def close(self) -> None:
        raise NotImplementedError
