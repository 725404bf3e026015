"""The controller's own copy of every stream: `root/<node>/attempt-K/rank-N.out`, byte for byte.

The copy is at every moment a prefix of the node's file, so its size is the offset from which to
follow on, after a lost link as after a crash.
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
_BLOCK = 4096  # bytes that the end of a hole takes up


class GapError(Exception):
    """Bytes between the end of the copy and the chunk that came are missing."""


class LimitReached(Exception):
    """The copies take up as much of the disk as they may; the chunk that came was not kept."""


@dataclass
class _File:
    descriptor: int
    size: int


class Store:
    """Appends chunks to the copies below `root`; not for use by several threads.

    Folders are made 0700 and files 0600. At most 256 files are held open. Bytes are written at the
    offset that they have on the node, so two controllers that follow one run write the same bytes
    to the same places. All copies and their index take up at most `limit` bytes of the disk (None: any
    number), and one chunk.
    """

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self._root = root
        self.limit = limit
        self.limit_reported = False
        """Whether somebody was told that it is reached."""
        self._taken: int | None = None  # bytes on the disk; None: nobody has looked yet
        # Least recently used first; a node's name stands for its index.
        self._files: OrderedDict[Stream | str, _File] = OrderedDict()

    def append(self, stream: Stream, offset: int, data: bytes, t: float) -> bytes:
        """Store `data`, which stands at `offset` of the node's file and came at `t`.

        Returns the part of it that is new: bytes that the copy already has are passed over. Raises
        GapError when `offset` is beyond the end of the copy, LimitReached, and OSError when the disk
        is full or the like: then as much as was written is part of the copy, and `size` says how much.
        """
        start = self._start(stream, offset)
        fresh = data[start - offset :]
        if not fresh:
            return b""
        file = self._open_to_add(stream)
        rest = memoryview(fresh)
        while rest:
            written = os.pwrite(file.descriptor, rest, file.size)
            self._take(written)
            file.size += written
            rest = rest[written:]
        self._note(Record(t, stream, start, len(fresh)))
        return fresh

    def append_zeros(self, stream: Stream, offset: int, count: int, t: float) -> int:
        """Do as `append` with so many zeros, which take up nearly nothing; return how many are new."""
        start = self._start(stream, offset)
        fresh = count - (start - offset)
        if fresh <= 0:
            return 0
        file = self._open_to_add(stream)
        # The last one is written, and the file grows up to there. `ftruncate` might cut off what another
        # controller has written meanwhile.
        os.pwrite(file.descriptor, b"\0", start + fresh - 1)
        self._take(_BLOCK)
        file.size = start + fresh
        self._note(Record(t, stream, start, fresh))
        return fresh

    @property
    def taken(self) -> int:
        """How many bytes of the disk the copies and their index take up."""
        if self._taken is None:
            self._taken = sum(
                disk_usage(Path(folder, name).stat())
                for folder, _, names in os.walk(self._root)
                for name in names
            )
        return self._taken

    def largest(self) -> tuple[Stream, int] | None:
        """The copy that takes up most of the disk, and how much; None where there is none."""
        sizes = [
            (stream, disk_usage((self._root / stream.node / stream.path).stat()))
            for folder in (sorted(self._root.iterdir()) if self._root.exists() else ())
            for stream in stored_streams(self._root, folder.name)
        ]
        return max(sizes, key=lambda pair: pair[1], default=None)

    def _start(self, stream: Stream, offset: int) -> int:
        """Return the end of the copy, from where on a chunk at `offset` is new. Raises GapError."""
        size = self.size(stream)
        if not 0 <= offset <= size:
            raise GapError(
                f"{stream.path}: a chunk begins at byte {offset}, "
                f"but the copy ends at byte {size}; follow on from there"
            )
        return size

    def _open_to_add(self, stream: Stream) -> _File:
        """Return the copy, open. Raises LimitReached."""
        if self.limit is not None and self.taken >= self.limit:
            raise LimitReached
        return self._open(stream, stream.path)

    def _take(self, count: int) -> None:
        if self._taken is not None:
            self._taken += count

    def size(self, stream: Stream) -> int:
        """How many bytes of the stream the copy has: the offset from which to follow on."""
        file = self._files.get(stream)
        if file is not None:
            return file.size
        path = self._root / stream.node / stream.path
        return path.stat().st_size if path.exists() else 0

    def sizes(self, node: str) -> dict[str, int]:
        """The sizes of all the node's copies by their paths (`attempt-0/rank-3.out`)."""
        return {stream.path: self.size(stream) for stream in stored_streams(self._root, node)}

    def close(self) -> None:
        """Close every file; a later `append` opens what it needs."""
        while self._files:
            os.close(self._files.popitem()[1].descriptor)

    def _note(self, record: Record) -> None:
        index = self._open(record.stream.node, INDEX_NAME)
        # A record cut short by a full disk is written over by the next one.
        written = os.pwrite(index.descriptor, pack(record), index.size)
        self._take(written)
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
