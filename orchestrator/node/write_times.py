"""Marks: the times at which log files had grown to certain sizes, for readers that come later.

What is followed live gets the time at which it is read. After a cut, or for a controller that was away,
that would be the time of the return. So the supervisor checks the log files once a second and notes what
has grown, in `marks` beside them: fixed-size records (time, size, stream); a torn last one is skipped.
Marks are only an aid: one that cannot be written is dropped, and nothing waits for it.

They must not fill a disk, however long a run prints. One per second is kept of the last minutes; of what is
older, one per 2^k seconds that are no more than a hundredth of its age. So a stream that prints all the
time has some 1400 marks after a week, and each doubling of its age adds 100.
"""

from __future__ import annotations

import os
import struct
import time
from bisect import bisect_right
from stat import S_ISREG
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from . import files

_INTERVAL = 1.0  # seconds between checks
_RESOLUTION = 100  # a mark's age divided by the time span of which it is the only one
_FIRST_LIMIT = 1 << 16  # bytes at which a file of marks is thinned for the first time
_RECORD = struct.Struct("<dQiI")  # time, size, rank (-1: the launcher), 0 stdout or 1 stderr
_MAX_BYTES = 1 << 25  # of a file of marks that are read: a script may have written it
_MAX_TIME = 1e11  # seconds since the epoch
_ENDINGS = ("out", "err")


class WriteTime(NamedTuple):
    """By `time` (seconds since the epoch) the log file `stream` had grown to `size` bytes."""

    time: float
    size: int
    stream: str


def pack(mark: WriteTime) -> bytes:
    """Return the mark as a record of the file. Raises ValueError for an invalid name of a stream."""
    match = files.STREAM.match(mark.stream)
    if match is None:
        raise ValueError("not a stream: {!r}".format(mark.stream))
    rank, ending = match.groups()
    number = -1 if rank is None else int(rank)
    return _RECORD.pack(mark.time, mark.size, number, _ENDINGS.index(ending))


def unpack(data: bytes) -> List[WriteTime]:
    """Return the marks in `data` that are whole and valid."""
    found = []
    whole = len(data) - len(data) % _RECORD.size
    for when, size, rank, ending in _RECORD.iter_unpack(data[:whole]):
        if 0 <= when < _MAX_TIME and ending < len(_ENDINGS):
            name = "launcher" if rank == -1 else "rank-{:d}".format(rank)
            stream = "{}.{}".format(name, _ENDINGS[ending])
            if files.STREAM.match(stream):
                found.append(WriteTime(when, size, stream))
    return found


def thin(marks: List[WriteTime], now: float) -> List[WriteTime]:
    """Return the `marks` to keep at `now`: without the others, times are late by at most 1 % of their age.

    The last of each 2^k seconds stays, and these spans nest, so that this holds after any number of calls.
    """
    kept = []
    seen: Set[Tuple[str, int, int]] = set()
    for mark in reversed(marks):
        span = 1 << max(0, int(max(0.0, now - mark.time) / _RESOLUTION).bit_length() - 1)
        place = (mark.stream, span, int(mark.time // span))
        if place not in seen:
            seen.add(place)
            kept.append(mark)
    kept.reverse()
    return kept


class Timeline:
    """The marks of one stream, which give the time of its bytes."""

    def __init__(self) -> None:
        self._sizes: List[int] = []
        self._times: List[float] = []

    def add(self, mark: WriteTime) -> None:
        while self._sizes and self._sizes[-1] >= mark.size:  # the file has been cut short since
            self._sizes.pop()
            self._times.pop()
        self._sizes.append(mark.size)
        self._times.append(mark.time)

    def after(self, offset: int) -> Optional[Tuple[int, float]]:
        """Return (end, time) of the bytes from `offset` on that the same mark covers, or None."""
        place = bisect_right(self._sizes, offset)
        return (self._sizes[place], self._times[place]) if place < len(self._sizes) else None


def timelines(folder: str, now: float) -> Dict[str, Timeline]:
    """Return the marks in the `folder` of one attempt, by the name of the stream; none if unreadable."""
    found: Dict[str, Timeline] = {}
    try:
        for mark in thin(_read(folder), now):
            found.setdefault(mark.stream, Timeline()).add(mark)
    except OSError:
        pass  # then times are less exact, but no bytes are lost
    return found


class Known:
    """The marks of one attempt, read again when they do not cover an offset."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._timelines: Dict[str, Timeline] = {}
        self._read_at = float("-inf")

    def after(self, name: str, offset: int) -> Optional[Tuple[int, float]]:
        """Return what `Timeline.after` does of the stream `name`."""
        found = self._timelines.get(name, Timeline()).after(offset)
        now = time.monotonic()
        if found is None and now - self._read_at > _INTERVAL:
            self._read_at = now
            self._timelines = timelines(self._folder, time.time())
            found = self._timelines.get(name, Timeline()).after(offset)
        return found


class WriteTimeRecorder:
    """Writes the marks of the run in `directory`, from the attempt `first` on."""

    def __init__(self, directory: str, first: int) -> None:
        self._directory = directory
        self._first = first
        self._attempts: Dict[int, _Attempt] = {}
        self._next_check = 0.0

    def step(self) -> float:
        """Check if it is time to; return in how many seconds it will be. Never raises OSError."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _INTERVAL
            self.check()
        return self._next_check - now

    def check(self) -> None:
        """Mark what has grown since the last check."""
        # Files of the newest attempt may still grow, and of the one before, until its end.
        latest = files.attempts(self._directory, self._first)[-2:]
        try:
            for number in latest:
                if number not in self._attempts:
                    folder = files.attempt_folder(self._directory, number)
                    self._attempts[number] = _Attempt(folder)
                self._attempts[number].check(self._directory)
        except OSError:
            pass  # a full disk, a folder that a script has removed: what is missed now is marked later


class _Attempt:
    """The files of one attempt, and the size up to which each is marked."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._marked: Dict[str, int] = {}
        self._end = 0  # where the next record goes: past the last whole one
        self._limit = _FIRST_LIMIT
        for mark in _read(folder):
            self._marked[mark.stream] = mark.size
        if self._marked:
            size = os.stat(_path(folder)).st_size
            self._end = size - size % _RECORD.size

    def check(self, directory: str) -> None:
        sizes = {}
        for name in os.listdir(self._folder):
            if files.STREAM.match(name):
                state = os.lstat(os.path.join(self._folder, name))
                if S_ISREG(state.st_mode) and state.st_size != self._marked.get(name, 0):
                    sizes[name] = state.st_size
        # If the space that is reserved for the last records has been needed, this takes none of it.
        if not sizes or not files.has_room_aside(directory):
            return
        now = time.time()
        grown = [n for n, size in sizes.items() if size > self._marked.get(n, 0)]
        data = b"".join(pack(WriteTime(now, sizes[name], name)) for name in sorted(grown))
        descriptor = files.open_own(_path(self._folder), os.O_WRONLY)
        try:
            if os.pwrite(descriptor, data, self._end) < len(data):  # the disk is full
                os.ftruncate(descriptor, self._end)
                return
        finally:
            os.close(descriptor)
        self._end += len(data)
        self._marked.update(sizes)
        if self._end >= self._limit:
            self._thin(now)

    def _thin(self, now: float) -> None:
        # If this fails, it is tried again when the file has grown by as much again.
        self._limit = self._end + _FIRST_LIMIT
        data = b"".join(map(pack, thin(_read(self._folder), now)))
        files.replace_file(_path(self._folder), data)
        self._end = len(data)
        self._limit = max(_FIRST_LIMIT, 2 * self._end)


def _path(folder: str) -> str:
    return os.path.join(folder, "marks")


def _read(folder: str) -> List[WriteTime]:
    try:
        return unpack(files.read_some(_path(folder), _MAX_BYTES))
    except (FileNotFoundError, files.NotAFile):
        return []
