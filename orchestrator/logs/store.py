"""The controller's own copy of every stream: `root/<node>/attempt-K/rank-N.out`, byte for byte.

The copy is at every moment a prefix of the node's file, so its size is the offset from which to
follow on, after a lost link as after a crash.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from orchestrator.logs.index import INDEX_NAME, RECORD_SIZE, Record, pack, stored
from orchestrator.logs.stream import Stream

MAX_OPEN = 256


class GapError(Exception):
    """Bytes between the end of the copy and the chunk that came are missing."""


@dataclass
class _File:
    descriptor: int
    size: int


class Store:
    """Appends chunks to the copies below `root`; not for use by several threads.

    Folders are made 0700 and files 0600. At most 256 files are held open. Bytes are written at the
    offset that they have on the node, so two controllers that follow one run write the same bytes
    to the same places.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Least recently used first; a node's name stands for its index.
        self._files: OrderedDict[Stream | str, _File] = OrderedDict()

    def append(self, stream: Stream, offset: int, data: bytes, t: float) -> bytes:
        """Store `data`, which stands at `offset` of the node's file and came at `t`.

        Returns the part of it that is new: bytes that the copy already has are passed over. Raises
        GapError when `offset` is beyond the end of the copy, and OSError when the disk is full or
        the like: then as much as was written is part of the copy, and `size` says how much.
        """
        file = self._open(stream, stream.path)
        if not 0 <= offset <= file.size:
            raise GapError(
                f"{stream.node}: {stream.path}: a chunk begins at byte {offset}, "
                f"but the copy ends at byte {file.size}; follow on from there"
            )
        start = file.size
        fresh = data[start - offset :]
        if not fresh:
            return b""
        rest = memoryview(fresh)
        while rest:
            written = os.pwrite(file.descriptor, rest, file.size)
            file.size += written
            rest = rest[written:]
        self._note(Record(t, stream, start, len(fresh)))
        return fresh

    def size(self, stream: Stream) -> int:
        """How many bytes of the stream the copy has: the offset from which to follow on."""
        file = self._files.get(stream)
        if file is not None:
            return file.size
        path = self._root / stream.node / stream.path
        return path.stat().st_size if path.exists() else 0

    def sizes(self, node: str) -> dict[str, int]:
        """The sizes of all the node's copies by their paths (`attempt-0/rank-3.out`)."""
        return {stream.path: self.size(stream) for stream in stored(self._root, node)}

    def close(self) -> None:
        """Close every file; a later `append` opens what it needs."""
        while self._files:
            os.close(self._files.popitem()[1].descriptor)

    def _note(self, record: Record) -> None:
        index = self._open(record.stream.node, INDEX_NAME)
        # A record cut short by a full disk is written over by the next one.
        if os.pwrite(index.descriptor, pack(record), index.size) == RECORD_SIZE:
            index.size += RECORD_SIZE

    def _open(self, key: Stream | str, path: str) -> _File:
        file = self._files.get(key)
        if file is not None:
            self._files.move_to_end(key)
            return file
        if len(self._files) >= MAX_OPEN:
            os.close(self._files.popitem(last=False)[1].descriptor)
        node = key if isinstance(key, str) else key.node
        full = self._root / node / path
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self._root / node, full.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(descriptor).st_size
        if isinstance(key, str):
            size -= size % RECORD_SIZE
        file = self._files[key] = _File(descriptor, size)
        return file
