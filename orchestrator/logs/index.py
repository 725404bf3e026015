"""When which bytes came: the index beside a node's log files, for replay in order of time.

A file of fixed-size records (time, stream, offset, length), one for each chunk stored. It is an aid
and not the truth: what it lacks (a crash, a full disk) is filled from the log files themselves, and
a record that makes no sense is passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.logs.stream import Channel, Stream

INDEX_NAME = "index"
MAX_LENGTH = 256 * 1024

# t, offset, length, rank, local rank (-1: none), attempt, channel; padded to 32 bytes.
_RECORD = struct.Struct("<dQIiiHBx")
RECORD_SIZE = _RECORD.size
_CHANNELS: tuple[Channel, ...] = ("stdout", "stderr")


@dataclass(frozen=True)
class Record:
    """`length` bytes of a stream, from `offset` on, came at `t` (seconds since the epoch)."""

    t: float
    stream: Stream
    offset: int
    length: int


def pack(record: Record) -> bytes:
    """The record as it stands in the file."""
    stream = record.stream
    return _RECORD.pack(
        record.t,
        record.offset,
        record.length,
        -1 if stream.rank is None else stream.rank,
        -1 if stream.local_rank is None else stream.local_rank,
        stream.attempt,
        _CHANNELS.index(stream.channel),
    )


def read_index(root: Path, node: str) -> Iterator[Record]:
    """What is stored of `node` below `root`, in the order in which it came.

    Every byte of every log file is named exactly once, and those of one stream in their order, in
    records of at most 256 KiB. Bytes that the index does not know of come with the next record of
    their stream, or last, with the time of their file's last write.
    """
    folder = root / node
    done: dict[str, int] = {}
    sizes: dict[str, int] = {}
    streams: dict[str, Stream] = {}
    for record in _recorded(folder / INDEX_NAME, node):
        path, end = record.stream.path, record.offset + record.length
        streams[path] = record.stream
        if end > sizes.get(path, 0):
            sizes[path] = _size(folder / path)
        start, end = done.get(path, 0), min(end, sizes[path])
        if end > start:
            done[path] = end
            yield from _split(record.t, record.stream, start, end)
    for stream in sorted(stored(root, node), key=lambda stream: _last_write(folder / stream.path)):
        path = stream.path
        yield from _split(
            _last_write(folder / path),
            streams.get(path, stream),
            done.get(path, 0),
            _size(folder / path),
        )


def stored(root: Path, node: str) -> Iterator[Stream]:
    """The streams of `node` that have a file below `root`, without their local ranks."""
    folder = root / node
    for file in sorted(folder.glob("attempt-*/*")):
        try:
            yield Stream.parse(node, file.relative_to(folder).as_posix())
        except ValueError:  # not a log file: not ours to read
            continue


def _recorded(file: Path, node: str) -> Iterator[Record]:
    """The records of an index file, without a torn last one."""
    try:
        index = file.open("rb")
    except FileNotFoundError:
        return
    with index:
        while block := index.read(RECORD_SIZE * 4096):
            whole = len(block) - len(block) % RECORD_SIZE
            for fields in _RECORD.iter_unpack(block[:whole]):
                record = _record(node, *fields)
                if record is not None:
                    yield record


def _record(
    node: str,
    t: float,
    offset: int,
    length: int,
    rank: int,
    local_rank: int,
    attempt: int,
    channel: int,
) -> Record | None:
    """The record of these fields; None if they name no bytes of any stream."""
    if length == 0 or channel >= len(_CHANNELS):
        return None
    try:
        stream = Stream(
            node,
            attempt,
            None if rank == -1 else rank,
            None if local_rank == -1 else local_rank,
            _CHANNELS[channel],
        )
    except ValueError:
        return None
    return Record(t, stream, offset, length)


def _split(t: float, stream: Stream, start: int, end: int) -> Iterator[Record]:
    for offset in range(start, end, MAX_LENGTH):
        yield Record(t, stream, offset, min(MAX_LENGTH, end - offset))


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _last_write(file: Path) -> float:
    return file.stat().st_mtime
