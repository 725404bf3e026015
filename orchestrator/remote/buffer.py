"""A buffer of received bytes, like asyncio.StreamReader but with fewer copies."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Source(Protocol):
    """The source of the bytes, which can be paused."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Buffer:
    """Bytes in the order of their arrival; above twice `limit` bytes the source is paused.

    It has one reader at a time. Its methods return and raise the same as those of asyncio.StreamReader.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._start = 0  # bytes of the first piece that have been read
        self._size = 0
        self._has_ended = False
        self._source: Source | None = None
        self._is_paused = False
        self._reader: asyncio.Future[None] | None = None

    def set_source(self, source: Source) -> None:
        """Set the source to pause and resume."""
        self._source = source

    def feed_data(self, data: bytes) -> None:
        """Add bytes."""
        if not data:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        if self._source is not None and not self._is_paused and self._size > 2 * self._limit:
            self._is_paused = True
            self._source.pause_reading()

    def feed_eof(self) -> None:
        """Mark the end: no more bytes follow."""
        self._has_ended = True
        self._wake()

    async def read(self, n: int) -> bytes:
        """Wait for bytes and return at most `n`; b"" at the end."""
        while not self._size and not self._has_ended:
            await self._wait()
        return self._take(min(n, self._size))

    async def readexactly(self, n: int) -> bytes:
        """Return `n` bytes. Raises asyncio.IncompleteReadError if the end comes first."""
        while self._size < n:
            if self._has_ended:
                raise asyncio.IncompleteReadError(self._take(self._size), n)
            await self._wait()
        return self._take(n)

    async def readuntil(self, separator: bytes) -> bytes:
        """Return the bytes up to and including the `separator`.

        Raises asyncio.IncompleteReadError if the end comes first, and asyncio.LimitOverrunError after more
        than `limit` bytes, which stay in the buffer.
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
        """Return the position of the separator, at or after `searched`; -1 if there is none."""
        while self._pieces:
            found = self._pieces[0].find(separator, self._start + searched)
            if found >= 0:
                return found - self._start
            if len(self._pieces) == 1:
                break
            first = self._pieces.popleft()[self._start :]
            searched = max(0, len(first) + 1 - len(separator))
            self._pieces[0] = first + self._pieces[0]
            self._start = 0
        return -1

    def _take(self, n: int) -> bytes:
        """Return the next `n` bytes, which must be in the buffer."""
        taken = []
        left = n
        while left:
            first = self._pieces[0]
            end = self._start + left
            if end < len(first):
                taken.append(first[self._start : end])
                self._start = end
                break
            taken.append(first[self._start :] if self._start else first)
            left -= len(first) - self._start
            self._pieces.popleft()
            self._start = 0
        self._size -= n
        if self._is_paused and self._size <= self._limit:
            self._resume()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _wait(self) -> None:
        """Wait for more bytes, or the end."""
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
