"""What a channel has brought and nobody has read yet, as in asyncio.StreamReader, but copied less."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from orchestrator.errors import NodeError

LONGEST_LINE = 1 << 20  # bytes


class Source(Protocol):
    """Where bytes come from, which can be told to wait."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Buffer:
    """Pieces of bytes in their order; with more than twice `limit` bytes its source is paused.

    One reader at a time. Its methods return and raise what those of asyncio.StreamReader do.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._begin = 0  # of the first piece, so much has been read
        self._size = 0
        self._has_ended = False
        self._source: Source | None = None
        self._is_paused = False
        self._reader: asyncio.Future[None] | None = None

    def set_source(self, source: Source) -> None:
        """Say who brings the bytes."""
        self._source = source

    def feed_data(self, data: bytes) -> None:
        """Take in bytes."""
        if not data:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        if self._source is not None and not self._is_paused and self._size > 2 * self._limit:
            self._is_paused = True
            self._source.pause_reading()

    def feed_eof(self) -> None:
        """Say that no more will come."""
        self._has_ended = True
        self._wake()

    async def read(self, n: int) -> bytes:
        """Return at most `n` bytes as soon as there are any, b"" at the end."""
        while not self._size and not self._has_ended:
            await self._wait()
        return self._take(min(n, self._size))

    async def readexactly(self, n: int) -> bytes:
        """Return `n` bytes. Raises asyncio.IncompleteReadError when the end comes before them."""
        while self._size < n:
            if self._has_ended:
                raise asyncio.IncompleteReadError(self._take(self._size), n)
            await self._wait()
        return self._take(n)

    async def readuntil(self, separator: bytes) -> bytes:
        """Return what comes up to the `separator`, and that.

        Raises asyncio.IncompleteReadError when the end comes before it, and asyncio.LimitOverrunError when
        more than `limit` bytes do, which then are still to be read.
        """
        searched = 0
        while True:
            found = self._find(separator, searched)
            if found > self._limit or (found < 0 and self._size >= self._limit + len(separator)):
                consumed = found if found >= 0 else self._size + 1 - len(separator)
                raise asyncio.LimitOverrunError("a line is longer than the buffer", consumed)
            if found >= 0:
                return self._take(found + len(separator))
            if self._has_ended:
                raise asyncio.IncompleteReadError(self._take(self._size), None)
            searched = max(0, self._size + 1 - len(separator))
            await self._wait()

    def _find(self, separator: bytes, searched: int) -> int:
        """Return where the separator is, -1 if nowhere; it is not before `searched`."""
        while self._pieces:
            found = self._pieces[0].find(separator, self._begin + searched)
            if found >= 0:
                return found - self._begin
            if len(self._pieces) == 1:
                break
            first = self._pieces.popleft()[self._begin :]
            searched = max(0, len(first) + 1 - len(separator))
            self._pieces[0] = first + self._pieces[0]
            self._begin = 0
        return -1

    def _take(self, n: int) -> bytes:
        """Return the next `n` bytes, which are there."""
        taken = []
        left = n
        while left:
            first = self._pieces[0]
            end = self._begin + left
            if end < len(first):
                taken.append(first[self._begin : end])
                self._begin = end
                break
            taken.append(first[self._begin :] if self._begin else first)
            left -= len(first) - self._begin
            self._pieces.popleft()
            self._begin = 0
        self._size -= n
        if self._is_paused and self._size <= self._limit:
            self._resume()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _wait(self) -> None:
        """Return once more has come, or the end."""
        self._resume()
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _resume(self) -> None:
        if self._is_paused and self._source is not None:
            self._is_paused = False
            self._source.resume_reading()


async def read_line(reader: asyncio.StreamReader | Buffer, limit: int) -> bytes | None:
    """Return one line with its newline, at the end what is left of one; None for one over `limit` bytes.

    The line may be longer than the reader's buffer.
    """
    line = b""
    while True:
        try:
            line += await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            line += error.partial
        except asyncio.LimitOverrunError as error:
            line += await reader.readexactly(error.consumed)
            if len(line) <= limit:
                continue
        return line if len(line) <= limit else None


def too_long(node: str, limit: int) -> NodeError:
    """Return the error that says so of a line."""
    return NodeError(
        node,
        f"a line of its output is longer than {limit:,} bytes",
        remedy=f"see that `python:` of {node} in the inventory is an interpreter, and no script that "
        "prints something of its own",
    )
