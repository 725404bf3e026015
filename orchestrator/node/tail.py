"""A log file that is read as it grows, whatever a script does to it.

A long run of zeros is reported by its length. A file may have a hole of 200 GB, which takes no space on the
disk, and reads as zeros; the kernel knows where it ends.
"""

from __future__ import annotations

import errno
import os
from typing import Optional, Tuple

from . import files

CHUNK = 1 << 19
"""The maximum of bytes that are read at a time."""
HOLE = 1 << 18
"""The minimum of zeros that are reported by their length."""

_ZEROS = bytes(HOLE)


class Replaced(Exception):
    """The file at the path is another one than before."""


class Tail:
    """The file at `path`, read from `offset` on. Raises OSError if it cannot be opened."""

    def __init__(self, path: str, offset: int, level_at: float) -> None:
        self._path = path
        self._descriptor: Optional[int] = None
        self._identity: Optional[Tuple[int, int]] = None
        self.offset = offset
        self.read_at = 0.0
        self.level_at = level_at  # monotonic: when there was last nothing more to read
        self._open()

    def size(self) -> int:
        """Return the size of the file now. Raises OSError or Replaced."""
        return os.fstat(self._open()).st_size

    def last_write(self) -> float:
        """Return the time of the last write. Raises OSError or Replaced."""
        return os.fstat(self._open()).st_mtime

    def is_replaced(self) -> bool:
        """Return whether another file is at the path by now; False if none is."""
        try:
            state = os.lstat(self._path)
        except OSError:
            return False
        return (state.st_dev, state.st_ino) != self._identity

    def read(self, limit: int) -> Tuple[bytes, int]:
        """Return (bytes, 0) or (b"", zeros) from the offset on, at most `limit`, and move the offset.

        Bytes are at most a chunk. Nothing at all is the end, for now. Raises OSError or Replaced.
        """
        descriptor = self._open()
        data = os.pread(descriptor, min(limit, CHUNK), self.offset)
        zeros = 0
        if len(data) >= HOLE and 0 in data[::HOLE]:  # a run of that length has one of these
            at = data.find(_ZEROS)
            if at == 0:
                zeros = self._zeros(descriptor, data, limit)
            data = data if at < 0 else data[:at]
        if len(data) == CHUNK and not data[-1]:
            data = data.rstrip(b"\0") or data  # a run may begin here
        self.offset += len(data) + zeros
        return data, zeros

    def release(self) -> None:
        """Close the file until it is needed again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            descriptor = files.open_file(self._path)
            state = os.fstat(descriptor)
            identity = (state.st_dev, state.st_ino)
            if self._identity not in (None, identity):
                os.close(descriptor)
                raise Replaced
            self._descriptor, self._identity = descriptor, identity
        return self._descriptor

    def _zeros(self, descriptor: int, data: bytes, limit: int) -> int:
        """Return how many zeros there are from the offset on; `data` has the first of them."""
        count = len(data) - len(data.lstrip(b"\0"))
        if count < len(data):
            return count
        count = min(_data_after(descriptor, self.offset + count) - self.offset, limit)
        # What was just written may not be on the disk yet, and some file systems then report a hole
        # (OpenZFS before 2.2.2): reading shows it.
        last = os.pread(descriptor, CHUNK, self.offset + count - CHUNK) if count > CHUNK else b""
        if last.strip(b"\0"):
            return len(data)
        after = os.pread(descriptor, min(CHUNK, limit - count), self.offset + count)
        return count + len(after) - len(after.lstrip(b"\0"))


def _data_after(descriptor: int, offset: int) -> int:
    """Return where the next data begins according to the file system, or where the file ends."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # there is no data up to the end
            return os.fstat(descriptor).st_size
        return offset  # it does not know of holes
