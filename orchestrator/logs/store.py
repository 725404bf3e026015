"""The controller's own copy of every stream: `root/<node>/attempt-K/rank-N.out`, byte for byte.

The copy is always a prefix of the node's file, so its size is the offset at which to continue, after a
lost connection as after a crash.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from orchestrator.logs.holes import disk_usage
from orchestrator.logs.index import INDEX_NAME, RECORD_SIZE, Record, pack, stored_streams
from orchestrator.logs.stream import Stream
from orchestrator.node.trust import open_file

MAX_OPEN = 256
_BLOCK = 4096  # bytes on the disk for the end of a hole


class GapError(Exception):
    """Bytes are missing between the end of the copy and the chunk."""


class LimitReached(Exception):
    """The copies have reached their limit on disk space; the chunk was not stored."""


@dataclass
class _File:
    descriptor: int
    size: int


class Store:
    """Appends chunks to the copies below `root`; not for several threads.

    Folders get mode 0700 and files 0600. At most 256 files are open. Bytes are written at the offset that
    they have on the node, so two controllers that follow one run write the same. All copies and their
    index take up at most `limit` bytes of the disk (None: no limit) and one chunk.
    """

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self._root = root
        self.limit = limit
        self.limit_reported = False
        """Whether that was reported."""
        self._used: int | None = None  # bytes on the disk; None: not yet counted
        # Least recently used first; a node's name is the key of its index.
        self._files: OrderedDict[Stream | str, _File] = OrderedDict()

    def append(self, stream: Stream, offset: int, data: bytes, t: float) -> bytes:
        """Store `data`, which is at `offset` of the node's file and arrived at `t`.

        Return the part that is new: bytes that the copy already has are skipped. Raises GapError if
        `offset` is beyond the end of the copy, LimitReached, and OSError, for example if the disk is full:
        then the copy has as much as was written, and `size` says how much.
        """
        start = self._start(stream, offset)
        fresh = data[start - offset :]
        if not fresh:
            return b""
        file = self._open_to_append(stream)
        rest = memoryview(fresh)
        while rest:
            written = os.pwrite(file.descriptor, rest, file.size)
            self._add_used(written)
            file.size += written
            rest = rest[written:]
        self._note(Record(t, stream, start, len(fresh)))
        return fresh

    def append_zeros(self, stream: Stream, offset: int, count: int, t: float) -> int:
        """Append `count` zeros as a hole, like `append`; return how many are new."""
        start = self._start(stream, offset)
        fresh = count - (start - offset)
        if fresh <= 0:
            return 0
        file = self._open_to_append(stream)
        # Writing the last zero extends the file. `ftruncate` could cut off what another controller has
        # written meanwhile.
        os.pwrite(file.descriptor, b"\0", start + fresh - 1)
        self._add_used(_BLOCK)
        file.size = start + fresh
        self._note(Record(t, stream, start, fresh))
        return fresh

    @property
    def used(self) -> int:
        """How many bytes the copies and their index take up on the disk."""
        if self._used is None:
            self._used = sum(
                disk_usage(Path(folder, name).stat())
                for folder, _, names in os.walk(self._root)
                for name in names
            )
        return self._used

    def largest(self) -> tuple[Stream, int] | None:
        """Return the copy that takes up most of the disk and its bytes; None if there is no copy."""
        sizes = [
            (stream, disk_usage((self._root / stream.node / stream.path).stat()))
            for folder in (sorted(self._root.iterdir()) if self._root.exists() else ())
            for stream in stored_streams(self._root, folder.name)
        ]
        return max(sizes, key=lambda pair: pair[1], default=None)

    def _start(self, stream: Stream, offset: int) -> int:
        """Return the size of the copy, from where a chunk at `offset` is new. Raises GapError."""
        size = self.size(stream)
        if not 0 <= offset <= size:
            raise GapError(
                f"{stream.path}: a chunk starts at byte {offset}, but the copy ends at byte {size}; "
                "continue from there"
            )
        return size

    def _open_to_append(self, stream: Stream) -> _File:
        """Open the copy to append to it. Raises LimitReached."""
        if self.limit is not None and self.used >= self.limit:
            raise LimitReached
        return self._open(stream, stream.path)

    def _add_used(self, count: int) -> None:
        if self._used is not None:
            self._used += count

    def size(self, stream: Stream) -> int:
        """Return how many bytes of the stream the copy has: the offset at which to continue."""
        file = self._files.get(stream)
        if file is not None:
            return file.size
        path = self._root / stream.node / stream.path
        return path.stat().st_size if path.exists() else 0

    def sizes(self, node: str) -> dict[str, int]:
        """Return the sizes of all copies of the node by path (`attempt-0/rank-3.out`)."""
        return {stream.path: self.size(stream) for stream in stored_streams(self._root, node)}

    def close(self) -> None:
        """Close every file; a later `append` opens what it needs."""
        while self._files:
            os.close(self._files.popitem()[1].descriptor)

    def _note(self, record: Record) -> None:
        index = self._open(record.stream.node, INDEX_NAME)
        # A record cut short by a full disk is overwritten by the next one.
        written = os.pwrite(index.descriptor, pack(record), index.size)
        self._add_used(written)
        index.size += written - written % RECORD_SIZE

    def _open(self, key: Stream | str, path: str) -> _File:
        file = self._files.get(key)
        if file is not None:
            self._files.move_to_end(key)
            return file
        if len(self._files) >= MAX_OPEN:
            os.close(self._files.popitem(last=False)[1].descriptor)
        node = key if isinstance(key, str) else key.node
        full = self._root / node / path
        for folder in (self._root, self._root / node, full.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = open_file(str(full), os.O_WRONLY | os.O_CREAT)
        size = os.fstat(descriptor).st_size
        if isinstance(key, str):
            size -= size % RECORD_SIZE
        file = self._files[key] = _File(descriptor, size)
        return file
