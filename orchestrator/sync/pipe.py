"""A pipe to or from a child process, read and written as the event loop allows, in big pieces."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable

PIECE = 256 << 10  # bytes

# Descriptors below this are a shell's own to use, and the child's child is one.
_FIRST_FREE = 10


class Pipe:
    """Our end of a pipe, and until `handed_over` the `inherited` one that a child is to get."""

    def __init__(self, *, to_child: bool) -> None:
        reader, writer = os.pipe()
        self._ours, theirs = (writer, reader) if to_child else (reader, writer)
        self.inherited = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
        os.close(theirs)
        os.set_blocking(self._ours, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux: fewer, larger pieces
            fcntl.fcntl(self._ours, fcntl.F_SETPIPE_SZ, PIECE)

    def handed_over(self) -> None:
        """Close the end that the child has now."""
        if self.inherited >= 0:
            os.close(self.inherited)
            self.inherited = -1

    def close(self) -> None:
        self.handed_over()
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    async def read(self) -> bytes:
        """Return what is there, waiting for the first byte; b"" when no writer is left."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return os.read(self._ours, PIECE)
            except BlockingIOError:
                await self._ready(loop.add_reader, loop.remove_reader)

    async def write(self, data: bytes) -> None:
        """Write all of `data`. Raises BrokenPipeError when no reader is left."""
        loop = asyncio.get_running_loop()
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._ours, left) :]
            except BlockingIOError:
                await self._ready(loop.add_writer, loop.remove_writer)

    async def _ready(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        ready = asyncio.Event()
        fd = self._ours
        add(fd, ready.set)
        try:
            await ready.wait()
        finally:
            remove(fd)
