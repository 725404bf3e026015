"""Marks: by what time a log file had grown to what size, for whoever reads it only later.

What is followed live gets the time at which it is read. After a cut, or for a controller that was away,
that would be the time of the return. So the supervisor looks at the log files once a second and notes
what has grown, in `marks` beside them: fixed-size records (time, size, stream), and a torn last one is
passed over. Marks are an aid and not the truth: one that cannot be written is gone, and nothing waits.

They must not fill a disk, however long a run prints. One in each second is kept of the last minutes; of
what is older, one in each 2^k seconds that are no more than a hundredth of its age. So a stream that
prints all the time has some 1400 marks after a week, and each doubling of its age adds 100.
"""

from __future__ import annotations

import os
import struct
import time
from bisect import bisect_right
from stat import S_ISREG
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from . import files

_EVERY = 1.0  # seconds between looks
_FINENESS = 100  # a mark's age over the time within which it stands for others
_FIRST_LIMIT = 1 << 16  # bytes at which a file of marks is thinned for the first time
_RECORD = struct.Struct("<dQiI")  # time, size, rank (-1: the launcher), 0 stdout or 1 stderr
_LARGEST = 1 << 25  # bytes of a file of marks that are read: a script may have written it
_ENDINGS = ("out", "err")
_DOOMSDAY = 1e11  # no time of ours, in seconds since the epoch


class WriteTime(NamedTuple):
    """By `time` (seconds since the epoch) the log file `stream` had grown to `size` bytes."""

    time: float
    size: int
    stream: str


def pack(mark: WriteTime) -> bytes:
    """Return the mark as it stands in the file. Raises ValueError for a stream of no such name."""
    match = files.STREAM.match(mark.stream)
    if match is None:
        raise ValueError("not a stream: {!r}".format(mark.stream))
    rank, ending = match.groups()
    return _RECORD.pack(
        mark.time, mark.size, -1 if rank is None else int(rank), _ENDINGS.index(ending)
    )


def unpack(data: bytes) -> List[WriteTime]:
    """Return the whole marks in `data` that make sense."""
    found = []
    whole = len(data) - len(data) % _RECORD.size
    for when, size, rank, ending in _RECORD.iter_unpack(data[:whole]):
        if 0 <= when < _DOOMSDAY and ending < len(_ENDINGS):
            name = "launcher" if rank == -1 else "rank-{:d}".format(rank)
            stream = "{}.{}".format(name, _ENDINGS[ending])
            if files.STREAM.match(stream):
                found.append(WriteTime(when, size, stream))
    return found


def thin(marks: List[WriteTime], now: float) -> List[WriteTime]:
    """Return the `marks` worth keeping at `now`: none that is left out is missed by 1 % of its age.

    The last of each 2^k seconds stays, and these spans nest: so that holds however often they are thinned.
    """
    kept = []
    seen: Set[Tuple[str, int, int]] = set()
    for mark in reversed(marks):
        span = 1 << max(0, int(max(0.0, now - mark.time) / _FINENESS).bit_length() - 1)
        place = (mark.stream, span, int(mark.time // span))
        if place not in seen:
            seen.add(place)
            kept.append(mark)
    kept.reverse()
    return kept


class Timeline:
    """The marks of one stream, to be asked for the time of its bytes."""

    def __init__(self) -> None:
        self._sizes: List[int] = []
        self._times: List[float] = []

    def add(self, mark: WriteTime) -> None:
        while self._sizes and self._sizes[-1] >= mark.size:  # the file was cut short since then
            self._sizes.pop()
            self._times.pop()
        self._sizes.append(mark.size)
        self._times.append(mark.time)

    def after(self, offset: int) -> Optional[Tuple[int, float]]:
        """Return (end, time) of the bytes from `offset` on that were there by one time, or None."""
        place = bisect_right(self._sizes, offset)
        return (self._sizes[place], self._times[place]) if place < len(self._sizes) else None


def timelines(folder: str, now: float) -> Dict[str, Timeline]:
    """Return the marks in the `folder` of one attempt, by the name of the stream."""
    found: Dict[str, Timeline] = {}
    try:
        written = _read(folder)
    except OSError:
        return found  # what cannot be read costs times, and no bytes
    for mark in thin(written, now):
        found.setdefault(mark.stream, Timeline()).add(mark)
    return found


class Known:
    """The marks of one attempt; read again when they are asked for what they do not have."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lines: Dict[str, Timeline] = {}
        self._read_at = float("-inf")

    def after(self, name: str, offset: int) -> Optional[Tuple[int, float]]:
        found = self._find(name, offset)
        now = time.monotonic()
        if found is None and now - self._read_at > _EVERY:
            self._read_at = now
            self._lines = timelines(self._folder, time.time())
            found = self._find(name, offset)
        return found

    def _find(self, name: str, offset: int) -> Optional[Tuple[int, float]]:
        line = self._lines.get(name)
        return None if line is None else line.after(offset)


class WriteTimeRecorder:
    """Makes the marks of the run in `directory`, from the attempt `first` on."""

    def __init__(self, directory: str, first: int) -> None:
        self._directory = directory
        self._first = first
        self._attempts: Dict[int, _Attempt] = {}
        self._next_look = 0.0

    def step(self) -> float:
        """Look if it is time to; return in how many seconds it will be. Never raises OSError."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _EVERY
            self.look()
        return self._next_look - now

    def look(self) -> None:
        """Mark what has grown since the last look."""
        try:
            for number in self._latest():
                if number not in self._attempts:
                    folder = os.path.join(self._directory, files.attempt_name(number))
                    self._attempts[number] = _Attempt(folder)
                self._attempts[number].look(self._directory)
        except OSError:
            pass  # a full disk, a folder that a script has removed: what is missed now is marked later

    def _latest(self) -> List[int]:
        """Return the attempts whose files may still grow: the newest, and the one before, for its end."""
        return files.attempts(self._directory, self._first)[-2:]


class _Attempt:
    """The files of one attempt, and how much of each is marked."""

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

    def look(self, directory: str) -> None:
        sizes = {}
        for name in os.listdir(self._folder):
            if files.STREAM.match(name):
                state = os.lstat(os.path.join(self._folder, name))
                if S_ISREG(state.st_mode) and state.st_size != self._marked.get(name, 0):
                    sizes[name] = state.st_size
        # Where the room set aside for the last words has been needed, this takes none of it.
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
        # Where this fails it is tried again when as much has come again.
        self._limit = self._end + _FIRST_LIMIT
        data = b"".join(map(pack, thin(_read(self._folder), now)))
        temporary = _path(self._folder) + ".tmp"
        try:
            with os.fdopen(files.create(temporary), "wb") as file:
                file.write(data)
            files.replace(temporary, _path(self._folder))
        except OSError:
            os.unlink(temporary)
            raise
        self._end = len(data)
        self._limit = max(_FIRST_LIMIT, 2 * self._end)


def _path(folder: str) -> str:
    return os.path.join(folder, "marks")


def _read(folder: str) -> List[WriteTime]:
    try:
        return unpack(files.read_some(_path(folder), _LARGEST))
    except (FileNotFoundError, files.NotAFile):
        return []
