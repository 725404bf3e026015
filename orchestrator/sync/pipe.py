"""A pipe to or from a child process, for the event loop."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable

_CHUNK = 256 << 10  # bytes

# The grandchild is a shell, which uses lower descriptors itself.
_FIRST_FREE = 10


class Pipe:
    """A pipe: one end for this process, and the `inherited` end for a child."""

    def __init__(self, *, to_child: bool) -> None:
        reader, writer = os.pipe()
        self._ours, theirs = (writer, reader) if to_child else (reader, writer)
        self.inherited = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
        os.close(theirs)
        os.set_blocking(self._ours, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux: fewer, larger chunks
            fcntl.fcntl(self._ours, fcntl.F_SETPIPE_SZ, _CHUNK)

    def close_inherited(self) -> None:
        """Close the child's end once the child has been started."""
        if self.inherited >= 0:
            os.close(self.inherited)
            self.inherited = -1

    def close(self) -> None:
        self.close_inherited()
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    async def read(self) -> bytes:
        """Return data as soon as there is any; b"" if no writer is left."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return os.read(self._ours, _CHUNK)
            except BlockingIOError:
                await self._ready(loop.add_reader, loop.remove_reader)

    async def write(self, data: bytes) -> None:
        """Write all of `data`. Raises BrokenPipeError if no reader is left."""
        loop = asyncio.get_running_loop()
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._ours, left) :]
            except BlockingIOError:
                await self._ready(loop.add_writer, loop.remove_writer)

    async def _ready(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        ready = asyncio.Event()
        add(self._ours, ready.set)
        try:
            await ready.wait()
        finally:
            remove(self._ours)
