"""A log file that is read as it grows, whatever a script does to it meanwhile.

A long run of zeros is told by its length. A file may have a hole of 200 GB, which takes up nothing on the
disk, and reads as zeros; and the kernel knows where it ends.
"""

from __future__ import annotations

import errno
import os
from typing import Optional, Tuple

from . import files

CHUNK = 1 << 19
"""Bytes that are read at a time, at most."""
HOLE = 1 << 18
"""Zeros that are told by their length, at least."""

_ZEROS = bytes(HOLE)


class Replaced(Exception):
    """Another file stands at the path."""


class Tail:
    """The file at `path`, read from `offset` on. Raises OSError where it cannot be opened."""

    def __init__(self, path: str, offset: int, level_at: float) -> None:
        self._path = path
        self._descriptor: Optional[int] = None
        self._identity: Optional[Tuple[int, int]] = None
        self.offset = offset
        self.read_at = 0.0
        self.level_at = level_at  # monotonic: when there was nothing more to read
        self._open()

    def size(self) -> int:
        """Return the size of the file now. Raises OSError or Replaced."""
        return os.fstat(self._open()).st_size

    def last_write(self) -> float:
        """Return when it was written last. Raises OSError or Replaced."""
        return os.fstat(self._open()).st_mtime

    def is_replaced(self) -> bool:
        """Tell whether another file stands at the path by now; where none does, it is only gone."""
        try:
            state = os.lstat(self._path)
        except OSError:
            return False
        return (state.st_dev, state.st_ino) != self._identity

    def read(self, most: int) -> Tuple[bytes, int]:
        """Return (bytes, 0) or (b"", zeros) from the offset on, at most `most`, and go on behind them.

        Bytes are at most a chunk. Nothing at all is the end, for now. Raises OSError or Replaced.
        """
        descriptor = self._open()
        data = os.pread(descriptor, min(most, CHUNK), self.offset)
        zeros = 0
        if len(data) >= HOLE and 0 in data[::HOLE]:  # a run as long as that has one of these
            at = data.find(_ZEROS)
            if at == 0:
                zeros = self._zeros(descriptor, data, most)
                data = b""
            elif at > 0:
                data = data[:at]
        if len(data) == CHUNK and not data[-1]:
            data = data.rstrip(b"\0") or data  # a run may begin here
        self.offset += len(data) + zeros
        return data, zeros

    def release(self) -> None:
        """Close the file, until it is needed again."""
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

    def _zeros(self, descriptor: int, data: bytes, most: int) -> int:
        """Return how many zeros there are from the offset on, of which `data` has the first."""
        count = len(data) - len(data.lstrip(b"\0"))
        if count < len(data):
            return count
        count = min(_data_after(descriptor, self.offset + count) - self.offset, most)
        # What was written just now may not be on the disk yet, and some file systems then say that
        # nothing is there (OpenZFS before 2.2.2): it is seen in what is read.
        last = os.pread(descriptor, CHUNK, self.offset + count - CHUNK) if count > CHUNK else b""
        if last.strip(b"\0"):
            return len(data)
        after = os.pread(descriptor, min(CHUNK, most - count), self.offset + count)
        return count + len(after) - len(after.lstrip(b"\0"))


def _data_after(descriptor: int, offset: int) -> int:
    """Return where the next data begins, as far as the file system knows, or where the file ends."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # there is none up to the end
            return os.fstat(descriptor).st_size
        return offset  # of holes it knows nothing
