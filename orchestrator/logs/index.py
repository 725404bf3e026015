"""When bytes arrived: the index next to the log files of a node, for replay in order of time.

A file of fixed-size records (time, stream, offset, length), one for each chunk stored. The log files
decide: what the index lacks (after a crash, on a full disk) is read from them, and an invalid record is
skipped.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from orchestrator.logs.chunking import MAX_LINE_BYTES
from orchestrator.logs.holes import MIN_HOLE, extents
from orchestrator.logs.stream import Channel, Stream
from orchestrator.node.trust import open_file

INDEX_NAME = "index"
MAX_LENGTH = 256 * 1024

# t, offset, length, rank, local rank (-1: none), attempt, channel, and the bits by which the length is
# shifted, since a hole may be longer than 4 GiB.
_RECORD = struct.Struct("<dQIiiHBB")
_LENGTH_BITS = 31  # of 32, so that it can be rounded up
RECORD_SIZE = _RECORD.size
_BLOCK = 4096 * RECORD_SIZE
_Key = tuple[int, ...]  # rank, local rank, attempt, channel
_CHANNELS: tuple[Channel, ...] = ("stdout", "stderr")
_MAX_TIME = 2.5e11  # the year 9892: no clock gave a later one, or one before 0
_LOOK_BACK = 64 * 1024  # bytes read at a time to find the start of a line


@dataclass(frozen=True, slots=True)
class Record:
    """`length` bytes of a stream at `offset` that arrived at `t` (seconds since the epoch).

    A `hole` has only zeros.
    """

    t: float
    stream: Stream
    offset: int
    length: int
    hole: bool = False


def pack(record: Record) -> bytes:
    """Return the record as bytes; a length over 4 GiB is rounded up slightly."""
    stream = record.stream
    shift = max(0, record.length.bit_length() - _LENGTH_BITS)
    return _RECORD.pack(
        record.t,
        record.offset,
        -(-record.length >> shift),
        -1 if stream.rank is None else stream.rank,
        -1 if stream.local_rank is None else stream.local_rank,
        stream.attempt,
        _CHANNELS.index(stream.channel),
        shift,
    )


def _unpack(block: bytes) -> Iterator[tuple[float, int, int, _Key]]:
    """Yield t, offset, length and key of each record in a block."""
    for t, offset, length, *key, shift in _RECORD.iter_unpack(block):
        yield t, offset, length << shift if shift <= _LENGTH_BITS else 0, tuple(key)


def stored_streams(root: Path, node: str) -> Iterator[Stream]:
    """Yield the streams of `node` that have a file below `root`, without their local ranks."""
    folder = root / node
    for file in sorted(folder.glob("attempt-*/*")):
        try:
            stream = Stream.parse(node, file.relative_to(folder).as_posix())
        except ValueError:  # not a log file
            continue
        if _is_file(file):
            yield stream


@dataclass(slots=True)
class _Log:
    """How far a log file has been read."""

    file: Path
    stream: Stream
    done: int | None = 0  # None: up to where its next record starts
    size: int = 0
    at_line_start: bool = True  # else reading goes back to the start of the line first

    def up_to(self, end: int, t: float) -> Iterator[Record]:
        """Yield the bytes from `done` to `end`, which arrived at `t`."""
        if self.done is None or end <= self.done:
            return
        if not self.at_line_start:
            self.done, self.at_line_start = _line_start(self.file, self.done), True
        start, self.done = self.done, end
        if end - start < MIN_HOLE:
            yield Record(t, self.stream, start, end - start)
        else:
            yield from self.parts(t, start, end)

    def parts(self, t: float, start: int, end: int) -> Iterator[Record]:
        """Yield the bytes between two offsets, which arrived at `t`, in records of limited length."""
        with self.file.open("rb") as file:
            for begin, stop, is_hole in extents(file.fileno(), start, end):
                step = stop - begin if is_hole else MAX_LENGTH
                for offset in range(begin, stop, step):
                    length = min(step, stop - offset)
                    yield Record(t, self.stream, offset, length, is_hole)


class IndexReader:
    """Reads what is stored of `node` below `root`, in order of arrival, while it grows.

    Every byte of every log file that `want` accepts is reported exactly once, those of a stream in order,
    in records of at most 256 KiB except for holes. Bytes that the index lacks are part of the next record
    of their stream, or of `rest`. Another process may append meanwhile.
    """

    def __init__(
        self, root: Path, node: str, want: Callable[[Stream], bool] = lambda stream: True
    ) -> None:
        self._root, self._node, self._want = root, node, want
        self._index = root / node / INDEX_NAME
        self._position = 0
        self._since = float("-inf")
        self._logs: dict[str, _Log] = {}
        self._sizes: dict[str, int] = {}  # the size of each path in `newest_first`
        self._by_key: dict[_Key, _Log | None] = {}  # None: nothing that is wanted

    def records(self) -> Iterator[Record]:
        """Yield what was recorded since the last call; a torn last record waits for its rest."""
        for start, block in _blocks(self._index, self._position, self.end):
            self._position = start
            for t, offset, length, key in _unpack(block):
                self._position += RECORD_SIZE
                log = self._log_of(key)
                if log is None or length == 0 or not 0 <= t < _MAX_TIME:
                    continue
                end = offset + length
                if end > log.size:
                    log.size = _size(log.file)
                if log.done is None and offset <= log.size:
                    log.done = offset
                yield from log.up_to(min(end, log.size), t)

    def rest(self) -> Iterator[Record]:
        """Yield the bytes that no record names, with the time (of this machine) of the file's last write.

        Only for when writing has ended: what is still being written would get that time, too.
        """
        dated = ((_last_write(log.file), log) for log in map(self._log, self._wanted()))
        for t, log in sorted(dated, key=itemgetter(0)):
            log.size = _size(log.file)
            if t < self._since:
                log.done = log.size
            elif log.done is None:
                size = self._sizes.get(log.stream.path)
                log.done = self._recorded_end(log) if size is None else size
            yield from log.up_to(log.size, t)

    def skip_before(self, t: float) -> None:
        """Skip what arrived before `t`, except for the start of a line that ends after it.

        The index is searched from its end, so a recent position is found fast, and a clock that steps
        back within 4096 records hides nothing.
        """
        self._since = t
        self._position = self.end
        for start, block in _blocks(self._index, 0, self._position, backwards=True):
            since = [
                number for number, fields in enumerate(_unpack(block)) if t <= fields[0] < _MAX_TIME
            ]
            if not since:
                break
            self._position = start + since[0] * RECORD_SIZE
        if self._position:
            for log in map(self._log, self._wanted()):
                log.done, log.at_line_start = None, False

    def newest_first(self) -> Iterator[tuple[int, Record]]:
        """Yield what can be read, backwards, each with the position from which it would be read.

        Bytes that the index lacks are part of the record before them.
        """
        self._sizes = {stream.path: _size(self._log(stream).file) for stream in self._wanted()}
        ends = dict(self._sizes)
        for start, block in _blocks(self._index, self._position, self.end, backwards=True):
            position = start + len(block)
            for t, offset, length, key in reversed(list(_unpack(block))):
                position -= RECORD_SIZE
                log = self._log_of(key)
                if log is None or length == 0 or not 0 <= t < _MAX_TIME:
                    continue
                end = ends.get(log.stream.path, 0)
                if offset < end:
                    ends[log.stream.path] = offset
                    for record in reversed(list(log.parts(t, offset, end))):
                        yield position, record
        if self._position == 0:
            for path, end in ends.items():
                log = self._logs[path]
                if end > 0:
                    for record in reversed(list(log.parts(_last_write(log.file), 0, end))):
                        yield 0, record

    def start_from(self, position: int, starts: Mapping[str, int]) -> None:
        """Continue from a position of `newest_first`, and in each path in `starts` from that offset.

        What the other paths had then is skipped. Each stream starts with a whole line.
        """
        self._position = position
        for path in self._sizes:
            log = self._logs[path]
            log.done, log.at_line_start = starts.get(path), False

    @property
    def end(self) -> int:
        """The position after the last record at present."""
        size = _size(self._index)
        return size - size % RECORD_SIZE

    def _log_of(self, key: _Key) -> _Log | None:
        if key in self._by_key:
            return self._by_key[key]
        stream, log = _stream(self._node, *key), None
        if stream is not None and self._want(stream):
            log = self._log(stream)
            if log.stream.local_rank is None:  # the name of a file lacks it
                log.stream = stream
        self._by_key[key] = log
        return log

    def _wanted(self) -> Iterator[Stream]:
        return filter(self._want, stored_streams(self._root, self._node))

    def _log(self, stream: Stream) -> _Log:
        log = self._logs.get(stream.path)
        if log is None:
            log = self._logs[stream.path] = _Log(self._root / self._node / stream.path, stream)
        return log

    def _recorded_end(self, log: _Log) -> int:
        """Return up to where the records before the position cover a log file."""
        for _, block in _blocks(self._index, 0, self._position, backwards=True):
            for _, offset, length, key in reversed(list(_unpack(block))):
                if self._log_of(key) is log:
                    return min(offset + length, log.size)
        return 0


def _blocks(
    index: Path, start: int, end: int, *, backwards: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Yield the records of an index file from `start` to `end` as (offset, block), without holes."""
    if end <= start:
        return
    with _opened(index) as file:
        offsets: list[tuple[int, int]] = []
        for first, last, is_hole in extents(file.fileno(), start, end):
            if not is_hole:
                # Zeros of a record may count as part of the hole next to it.
                first -= first % RECORD_SIZE
                last += -last % RECORD_SIZE
                offsets += [(at, min(_BLOCK, last - at)) for at in range(first, last, _BLOCK)]
        for offset, length in reversed(offsets) if backwards else offsets:
            block = os.pread(file.fileno(), length, offset)
            yield offset, block[: len(block) - len(block) % RECORD_SIZE]


def _stream(node: str, rank: int, local_rank: int, attempt: int, channel: int) -> Stream | None:
    """Return the stream that a key names; None if there is no such stream."""
    if channel >= len(_CHANNELS):
        return None
    try:
        return Stream(
            node,
            attempt,
            None if rank == -1 else rank,
            None if local_rank == -1 else local_rank,
            _CHANNELS[channel],
        )
    except ValueError:
        return None


def _line_start(file: Path, offset: int) -> int:
    """Return where the line of the byte at `offset` starts; `offset` if that is too far back."""
    with _opened(file) as log:
        end, lowest = offset, max(0, offset - MAX_LINE_BYTES)
        while end > lowest:
            start = max(lowest, end - _LOOK_BACK)
            log.seek(start)
            newline = log.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0 if lowest == 0 else offset


def _opened(file: Path) -> BinaryIO:
    return os.fdopen(open_file(str(file)), "rb")


def _is_file(file: Path) -> bool:
    """Return whether there is a regular file: nothing else is read (a pipe has no end)."""
    return file.is_file() and not file.is_symlink()


def _size(file: Path) -> int:
    return file.stat().st_size if _is_file(file) else 0


def _last_write(file: Path) -> float:
    return file.stat().st_mtime
