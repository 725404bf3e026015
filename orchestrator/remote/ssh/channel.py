"""A command on a node as a channel of bytes, over one SSH session.

Bytes go from the connection into a bounded buffer; when the reader stops, the channel stops
reading, the SSH window fills, and the node's writer waits. Memory held per channel is at most the
buffer's two limits plus one window.
"""

from __future__ import annotations

import asyncio
import signal
import time

import asyncssh

from orchestrator.errors import ConnectionLost
from orchestrator.remote.buffer import LONGEST_LINE, Buffer, read_line, too_long
from orchestrator.util.text import printable

WINDOW = 4 << 20
PACKET = 256 << 10
_BUFFER = 1 << 20  # at twice this the channel is paused
_STDERR_KEPT = 64 << 10


class SshChannel(asyncssh.SSHClientSession[bytes]):
    """The `Channel` of a node reached over SSH."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._reader = Buffer(_BUFFER)
        self._stderr = bytearray()
        self._noise = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = asyncio.Event()
        self._exit_code: int | None = None
        self._whole = False  # all output has arrived
        self._lost = "the connection ended before the command did"
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self.heard_at = time.monotonic()

    async def started(self, marker: bytes) -> None:
        """Wait for `marker` on standard output; what came before it is noise.

        Raises asyncio.IncompleteReadError when output ends without it, with what was printed, and
        asyncio.LimitOverrunError when a MiB of something else was.
        """
        self._noise = (await self._reader.readuntil(marker)).removesuffix(marker)

    # What asyncssh calls.

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan
        self._reader.set_source(chan)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self.heard_at = time.monotonic()
        if datatype is None:
            self._reader.feed_data(data)
        else:
            self._stderr += data
            del self._stderr[:-_STDERR_KEPT]

    def eof_received(self) -> bool:
        self._whole = True
        self._reader.feed_eof()
        return True  # standard input stays open

    def exit_status_received(self, status: int) -> None:
        self._exit_code = status
        self._ended.set()

    def exit_signal_received(self, name: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._exit_code = 128 + _signal_number(name)
        self._ended.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._lost = f"the connection broke: {printable(str(exc))}"
        elif self._exit_code is not None:
            self._whole = True
        self._chan = None
        self._reader.feed_eof()
        self._writable.set()
        self._ended.set()

    # What a Channel offers.

    async def read(self, limit: int = 262144) -> bytes:
        data = await self._reader.read(limit)
        if not data:
            self._check_end()
        return data

    async def readline(self, limit: int = LONGEST_LINE) -> bytes:
        line = await read_line(self._reader, limit)
        if line is None:
            raise too_long(self._node, limit)
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
        """Raise ConnectionLost if what looks like the end of output is a broken connection."""
        if not self._whole:
            raise ConnectionLost(self._node, self._lost)

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), PACKET):
            await self._writable.wait()
            if self._chan is None and self._exit_code is None:
                raise ConnectionLost(self._node, self._lost)
            if self._chan is None or self._chan.is_closing():
                return  # the command has ended; its exit code says why
            self._chan.write(bytes(view[start : start + PACKET]))
        await self._writable.wait()

    def write_eof(self) -> None:
        if self._chan is not None and not self._chan.is_closing():
            self._chan.write_eof()

    async def wait(self) -> int:
        await self._ended.wait()
        if self._exit_code is None:
            raise ConnectionLost(self._node, self._lost)
        return self._exit_code

    @property
    def stderr(self) -> bytes:
        return bytes(self._stderr)

    @property
    def noise(self) -> bytes:
        return self._noise

    def close(self) -> None:
        if self._chan is not None:
            self._chan.abort()


def _signal_number(name: str) -> int:
    """Return the number of a signal that SSH names without SIG; 0 for one unknown here."""
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        return 0
