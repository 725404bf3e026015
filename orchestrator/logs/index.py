"""When which bytes came: the index beside a node's log files, for replay in order of time.

A file of fixed-size records (time, stream, offset, length), one for each chunk stored. It is an aid
and not the truth: what it lacks (a crash, a full disk) is filled from the log files themselves, and
a record that makes no sense is passed over.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.logs.chunking import LONGEST
from orchestrator.logs.holes import MIN_HOLE, extents, next_data
from orchestrator.logs.stream import Channel, Stream
from orchestrator.node.trust import open_file

INDEX_NAME = "index"
MAX_LENGTH = 256 * 1024

# t, offset, length, rank, local rank (-1: none), attempt, channel, and by how many bits the length is
# shifted: a hole may be longer than 4 GiB.
_RECORD = struct.Struct("<dQIiiHBB")
_LENGTH_BITS = 31  # that are used of its 32: room to round up
RECORD_SIZE = _RECORD.size
_BLOCK = 4096 * RECORD_SIZE
_CHANNELS: tuple[Channel, ...] = ("stdout", "stderr")
# Times are from 0 to here (the year 9892): nothing else is a time that came from a clock.
_END_OF_TIME = 2.5e11
_LOOK_BACK = 64 * 1024  # bytes at a time, for the beginning of a line


@dataclass(frozen=True, slots=True)
class Record:
    """`length` bytes of a stream, from `offset` on, came at `t` (seconds since the epoch).

    A `hole` is zeros all through.
    """

    t: float
    stream: Stream
    offset: int
    length: int
    hole: bool = False


def pack(record: Record) -> bytes:
    """The record as it stands in the file; a length over 4 GiB is rounded up a little."""
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


def _unpack(block: bytes) -> Iterator[tuple[float, int, int, int, int, int, int]]:
    """The records of a block: t, offset, length, and the numbers that name the stream."""
    for t, offset, length, *fields, shift in _RECORD.iter_unpack(block):
        rank, local_rank, attempt, channel = fields
        yield (
            t,
            offset,
            length << shift if shift <= _LENGTH_BITS else 0,
            rank,
            local_rank,
            attempt,
            channel,
        )


def stored_streams(root: Path, node: str) -> Iterator[Stream]:
    """The streams of `node` that have a file below `root`, without their local ranks."""
    folder = root / node
    for file in sorted(folder.glob("attempt-*/*")):
        try:
            stream = Stream.parse(node, file.relative_to(folder).as_posix())
        except ValueError:  # not a log file: not ours to read
            continue
        if _is_file(file):
            yield stream


@dataclass(slots=True)
class _Log:
    """How far a log file has been read."""

    file: Path
    stream: Stream
    done: int | None = 0  # None: up to where the next record of it begins
    size: int = 0
    whole: bool = True  # reading began with a whole line, or will when it begins at `done`

    def up_to(self, end: int, t: float) -> Iterator[Record]:
        """The bytes from where reading has come up to `end`, which came at `t`."""
        if self.done is None or end <= self.done:
            return
        if not self.whole:
            self.done, self.whole = _line_start(self.file, self.done), True
        start, self.done = self.done, end
        if end - start < MIN_HOLE:
            yield Record(t, self.stream, start, end - start)
        else:
            yield from self.parts(t, start, end)

    def parts(self, t: float, start: int, end: int) -> Iterator[Record]:
        """The bytes between two offsets, which came at `t`, in records that can be read."""
        with self.file.open("rb") as file:
            for begin, stop, is_hole in extents(file.fileno(), start, end):
                step = stop - begin if is_hole else MAX_LENGTH
                for offset in range(begin, stop, step):
                    length = min(step, stop - offset)
                    yield Record(t, self.stream, offset, length, is_hole)


class IndexReader:
    """Reads what is stored of `node` below `root`, in the order in which it came, as it grows.

    Every byte of every wanted log file is named exactly once, and those of one stream in their
    order, in records of at most 256 KiB, but for holes. Bytes that the index does not know of come with
    the next record of their stream, or with `rest`. Somebody else may append meanwhile.
    """

    def __init__(
        self, root: Path, node: str, want: Callable[[Stream], bool] = lambda stream: True
    ) -> None:
        self._root, self._node, self._want = root, node, want
        self._index = root / node / INDEX_NAME
        self._position = 0
        self._since = float("-inf")
        self._logs: dict[str, _Log] = {}
        self._there: dict[str, int] = {}  # what `newest_first` found of each path
        # What the fields of a record mean; None: nothing that is wanted.
        self._meant: dict[tuple[int, int, int, int], _Log | None] = {}

    def records(self) -> Iterator[Record]:
        """What was recorded since the last call; a torn last record waits for its rest."""
        for block in self._blocks():
            for t, offset, length, *fields in _unpack(block):
                self._position += RECORD_SIZE
                log = self._meaning(*fields)
                if log is None or length == 0 or not 0 <= t < _END_OF_TIME:
                    continue
                end = offset + length
                if end > log.size:
                    log.size = _size(log.file)
                if log.done is None and offset <= log.size:
                    log.done = offset
                yield from log.up_to(min(end, log.size), t)

    def rest(self) -> Iterator[Record]:
        """The bytes that no record names, with the time of their file's last write.

        That is a time of this machine. For when nothing is written any more: what is being written
        now would come with its file's time instead of its own.
        """
        logs = [
            self._log(stream)
            for stream in stored_streams(self._root, self._node)
            if self._want(stream)
        ]
        for t, log in sorted(
            ((_last_write(log.file), log) for log in logs), key=lambda pair: pair[0]
        ):
            log.size = _size(log.file)
            if t < self._since:
                log.done = log.size
            elif log.done is None:
                there = self._there.get(log.stream.path)
                log.done = self._recorded_end(log) if there is None else there
            yield from log.up_to(log.size, t)

    def skip_before(self, t: float) -> None:
        """Pass over what came before `t`, but for the beginning of a line that ends after it.

        The place is looked for from the end of the index, so it is found soon when it is near, and
        a clock that steps back within 4096 records hides nothing.
        """
        self._since = t
        self._position = self.end
        for start, block in _blocks_back(self._index, self._position):
            since = [
                number
                for number, fields in enumerate(_unpack(block))
                if t <= fields[0] < _END_OF_TIME
            ]
            if not since:
                break
            self._position = start + since[0] * RECORD_SIZE
        if self._position:
            for stream in stored_streams(self._root, self._node):
                log = self._log(stream)
                log.done, log.whole = None, False

    def newest_first(self) -> Iterator[tuple[int, Record]]:
        """What is there to read, backwards, each with the position to start from to have it read.

        Bytes that the index does not know of come with the record before them.
        """
        self._there = {
            stream.path: _size(self._log(stream).file)
            for stream in stored_streams(self._root, self._node)
            if self._want(stream)
        }
        ends = dict(self._there)
        for start, block in _blocks_back(self._index, self.end, self._position):
            position = start + len(block)
            for t, offset, length, *fields in reversed(list(_unpack(block))):
                position -= RECORD_SIZE
                log = self._meaning(*fields)
                if log is None or length == 0 or not 0 <= t < _END_OF_TIME:
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
        """Read on from a position of `newest_first`; of each path in `starts` from that offset on.

        Of the others, what was there then is passed over. Each stream begins with a whole line.
        """
        self._position = position
        for path in self._there:
            log = self._logs[path]
            log.done, log.whole = starts.get(path), False

    @property
    def end(self) -> int:
        """The position after the last record that there is now."""
        size = _size(self._index)
        return size - size % RECORD_SIZE

    def _blocks(self) -> Iterator[bytes]:
        """The whole records from the position on, which the caller moves, many at a time."""
        if not _is_file(self._index):
            return
        with _opened(self._index) as index:
            index.seek(self._position)
            while len(block := index.read(_BLOCK)) >= RECORD_SIZE:
                if any(block) or not self._skip_hole(index.fileno()):
                    yield block[: len(block) - len(block) % RECORD_SIZE]
                index.seek(self._position)

    def _skip_hole(self, descriptor: int) -> bool:
        """Move the position to where a hole of the index ends, if there is one: zeros are no records."""
        data = next_data(descriptor, self._position, os.fstat(descriptor).st_size)
        before, self._position = self._position, max(self._position, data - data % RECORD_SIZE)
        return self._position > before

    def _meaning(self, rank: int, local_rank: int, attempt: int, channel: int) -> _Log | None:
        key = (rank, local_rank, attempt, channel)
        if key in self._meant:
            return self._meant[key]
        stream, log = _stream(self._node, *key), None
        if stream is not None and self._want(stream):
            log = self._log(stream)
            if log.stream.local_rank is None:  # as the file's name alone has it
                log.stream = stream
        self._meant[key] = log
        return log

    def _log(self, stream: Stream) -> _Log:
        log = self._logs.get(stream.path)
        if log is None:
            log = self._logs[stream.path] = _Log(self._root / self._node / stream.path, stream)
        return log

    def _recorded_end(self, log: _Log) -> int:
        """How much of a log file there are records of, before the position."""
        for _, block in _blocks_back(self._index, self._position):
            for _, offset, length, *fields in reversed(list(_unpack(block))):
                if self._meaning(*fields) is log:
                    recorded: int = offset + length
                    return min(recorded, log.size)
        return 0


def _blocks_back(index: Path, end: int, begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """The records of an index file from `begin` to `end`, the last ones first, each block with its offset.

    Holes, which have none, are left out.
    """
    if end <= begin:
        return
    with _opened(index) as file:
        for first, last, is_hole in reversed(list(extents(file.fileno(), begin, end))):
            if is_hole:
                continue
            # Zeros of a record may count as a part of the hole beside it.
            first -= first % RECORD_SIZE
            last += -last % RECORD_SIZE
            while last > first:
                start = max(first, last - _BLOCK)
                file.seek(start)
                yield start, file.read(last - start)
                last = start


def _stream(node: str, rank: int, local_rank: int, attempt: int, channel: int) -> Stream | None:
    """The stream that the fields of a record name; None if there can be no such stream."""
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
    """Where the line begins that the byte at `offset` is part of; `offset` if that is too far."""
    with _opened(file) as log:
        end, least = offset, max(0, offset - LONGEST)
        while end > least:
            start = max(least, end - _LOOK_BACK)
            log.seek(start)
            newline = log.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0 if least == 0 else offset


def _opened(file: Path) -> BinaryIO:
    return os.fdopen(open_file(str(file)), "rb")


def _is_file(file: Path) -> bool:
    """Tell whether there is a regular file: nothing else is read (a pipe, say, has no end)."""
    return file.is_file() and not file.is_symlink()


def _size(file: Path) -> int:
    return file.stat().st_size if _is_file(file) else 0


def _last_write(file: Path) -> float:
    return file.stat().st_mtime
