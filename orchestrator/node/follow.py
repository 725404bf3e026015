"""Send what a run's log files gain, from given offsets, until the run has ended here.

The files are the truth: this only reads them, and nothing that it does or fails to do can reach the
ranks that write them. The kernel tells when a file has changed; a slow look at everything besides
catches what it may not tell (a network file system, a lost event). Bytes get the time at which they are
read, and those that have stood there for a while (nobody followed, a slow link) that of their mark.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import linux, marks, processes, records

CHUNK = 1 << 19
_FINAL = ("ended", "lost", "absent")
_ATTEMPT = re.compile(r"attempt-[0-9]+\Z")
_STREAM = re.compile(r"(rank-[0-9]+|launcher)\.(out|err)\Z")
_RECORD = re.compile(r"rank-[0-9]+\.json\Z")
_LOOK_EVERY = 1.0  # seconds between looks at everything, with the kernel's help
_LOOK_BLIND = 0.1  # and without
_BREATH = 0.02  # a stream that trickles is read at most this often, in seconds
_LATE = 2.0  # seconds after which bytes are not news any more; more than a look takes to come round
_PATIENCE = 10.0  # seconds for which a run's folder may be without a status

_NOBODY: Dict[str, Any] = {"state": "absent", "launcher": None, "left": [], "stopped": None}

Send = Callable[[Dict[str, Any], bytes], None]


class _Stream:
    __slots__ = ("descriptor", "level_at", "offset", "read_at")

    def __init__(self, path: str, offset: int, level_at: float) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.offset = offset
        self.read_at = 0.0
        self.level_at = level_at  # monotonic: when there was nothing more to read


class _Marks:
    """The marks of one attempt; read again when they are asked for what they do not have."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lines: Dict[str, marks.Timeline] = {}
        self._read_at = float("-inf")

    def after(self, name: str, offset: int) -> Optional[Tuple[int, float]]:
        found = self._find(name, offset)
        now = time.monotonic()
        if found is None and now - self._read_at > _LOOK_EVERY:
            self._read_at = now
            self._lines = marks.timelines(self._folder, time.time())
            found = self._find(name, offset)
        return found

    def _find(self, name: str, offset: int) -> Optional[Tuple[int, float]]:
        line = self._lines.get(name)
        return None if line is None else line.after(offset)


class Follower:
    """Follows the run in `directory`; `send(header, payload)` gets what there is to tell.

    Headers: {"f": stream, "o": offset, "t": time by which they were written} with the bytes as payload,
    unless it is to be `quiet`; {"rank": record} when a rank began or ended; {"status": status} when the
    supervisor's changed. Its state is "lost" when the supervisor died without a word, and "absent" when
    there is no such run here (any more). It is `finished` when the supervisor has ended and every byte
    is sent, which may be long after the end was told.
    """

    def __init__(
        self, directory: str, offsets: Dict[str, int], send: Send, quiet: bool = False
    ) -> None:
        self._directory = directory
        self._offsets = offsets
        self._send = send
        self._quiet = quiet
        self._began = time.monotonic()
        self._streams: Dict[str, _Stream] = {}
        self._dirty: Dict[str, None] = {}  # streams with something to read, in the order of news
        self._marks: Dict[str, _Marks] = {}  # by attempt folder
        self._told: Dict[str, Tuple[int, int, int]] = {}  # record file -> what was told of it
        self._folders: Dict[int, str] = {}
        self._status: Optional[Dict[str, Any]] = None
        self._next_look = 0.0
        self._has_looked = False
        self.finished = False
        self._inotify = None if quiet else self._listen()

    def _listen(self) -> Optional[linux.Inotify]:
        """Return the kernel's news of the folder, or None: then the files are looked at instead."""
        try:
            inotify = linux.Inotify()
        except OSError:
            return None  # none left on this node
        try:
            self._folders[inotify.watch(self._directory)] = ""
        except OSError:
            inotify.close()
            return None
        return inotify

    def descriptors(self) -> List[int]:
        """Return what to wait for besides time; nothing while a trickle is given time to gather."""
        return [] if self._inotify is None or self._dirty else [self._inotify.fileno()]

    def wait(self) -> float:
        """Return after how many seconds `step` has something to do, whatever the kernel tells."""
        now = time.monotonic()
        if self._dirty:
            first = min(self._streams[path].read_at for path in self._dirty) + _BREATH
            return max(0.0, min(first, self._next_look) - now)
        return max(0.0, self._next_look - now)

    def step(self) -> None:
        """Send what there is, at most one chunk of each stream."""
        self._hear()
        if time.monotonic() >= self._next_look:
            self._look()
        ended = self._status is not None and self._status["state"] in _FINAL
        now = time.monotonic()
        for path in list(self._dirty):
            if ended or now - self._streams[path].read_at >= _BREATH:
                self._read(path)
        self.finished = ended and not self._dirty

    def close(self) -> None:
        for stream in self._streams.values():
            os.close(stream.descriptor)
        self._streams.clear()
        if self._inotify is not None:
            self._inotify.close()

    def _hear(self) -> None:
        if self._inotify is None:
            return
        for watch, name in self._inotify.read():
            folder = self._folders.get(watch)
            if folder is None or (folder == "" and name.startswith("attempt-")):
                self._next_look = 0.0  # an overflow, or a new attempt
            elif folder == "":
                if name == "status.json":
                    self._next_look = 0.0
            elif _STREAM.match(name):
                self._mark(folder + "/" + name)
            elif _RECORD.match(name):
                self._tell_rank(folder + "/" + name)

    def _look(self) -> None:
        """Look at every file of the run, and at the supervisor itself."""
        # The status first: what was written before the end is then found below.
        status = self._look_at_supervisor()
        if status is not None and status != self._status:
            self._status = status
            self._send({"status": status}, b"")
        for folder in filter(_ATTEMPT.match, _names(self._directory)):
            path = os.path.join(self._directory, folder)
            self._watch(path, folder)
            for name in _names(path):
                if _STREAM.match(name):
                    self._mark(folder + "/" + name)
                elif _RECORD.match(name):
                    self._tell_rank(folder + "/" + name)
        self._has_looked = True
        self._next_look = time.monotonic() + (_LOOK_BLIND if self._inotify is None else _LOOK_EVERY)

    def _watch(self, path: str, folder: str) -> None:
        if self._inotify is None or folder in self._folders.values():
            return
        try:
            self._folders[self._inotify.watch(path)] = folder
        except FileNotFoundError:
            pass  # a script has removed it just now
        except OSError:
            self._inotify.close()
            self._inotify = None  # no more of it on this node: look at the files instead

    def _look_at_supervisor(self) -> Optional[Dict[str, Any]]:
        """Return the status of the run as it is now, or None while it cannot be told."""
        status = records.read_status(self._directory)
        if status is None or not _stands(status):
            # It may have written its last word between our two looks.
            status = records.read_status(self._directory) or self._status
        if status is not None:
            return status if _stands(status) else dict(status, state="lost")
        if not _exists(self._directory) and not processes.of_run(self._directory):
            return dict(_NOBODY)
        if time.monotonic() - self._began > _PATIENCE:
            return dict(_NOBODY, state="lost")
        return None

    def _mark(self, path: str) -> None:
        if self._quiet:
            return
        stream = self._streams.get(path)
        if stream is None:
            full = os.path.join(self._directory, path)
            # What is there before the first look may be there for long.
            level_at = time.monotonic() if self._has_looked else float("-inf")
            try:
                stream = _Stream(full, self._offsets.get(path, 0), level_at)
            except FileNotFoundError:
                return  # a script has removed it just now
            self._streams[path] = stream
        if path in self._dirty:
            return
        if os.fstat(stream.descriptor).st_size > stream.offset:
            self._dirty[path] = None
        else:
            stream.level_at = time.monotonic()

    def _read(self, path: str) -> None:
        stream = self._streams[path]
        size, written = CHUNK, time.time()
        if time.monotonic() - stream.level_at > _LATE:
            size, written = self._date(path, stream, written)
        data = os.pread(stream.descriptor, size, stream.offset)
        if data:
            self._send({"f": path, "o": stream.offset, "t": written}, data)
            stream.offset += len(data)
        if len(data) < size:
            del self._dirty[path]
            stream.read_at = stream.level_at = time.monotonic()

    def _date(self, path: str, stream: _Stream, now: float) -> Tuple[int, float]:
        """Return how many of the next bytes were written by one time, at most a chunk, and that time."""
        folder, _, name = path.partition("/")
        known = self._marks.get(folder)
        if known is None:
            known = self._marks[folder] = _Marks(os.path.join(self._directory, folder))
        found = known.after(name, stream.offset)
        if found is None:  # written since the last mark: then it is the last write
            return CHUNK, max(0.0, min(now, os.fstat(stream.descriptor).st_mtime))
        return min(CHUNK, found[0] - stream.offset), min(now, found[1])

    def _tell_rank(self, path: str) -> None:
        full = os.path.join(self._directory, path)
        try:
            state = os.stat(full)
        except FileNotFoundError:
            return  # a script has removed it just now
        seen = (state.st_ino, state.st_size, state.st_mtime_ns)
        if self._told.get(path) == seen:
            return
        record = records.read_rank(full)
        if record is not None:
            self._told[path] = seen
            self._send({"rank": record}, b"")


def _stands(status: Dict[str, Any]) -> bool:
    """Tell whether the status stands as it is: the supervisor lives, or has said its last word."""
    return status["state"] in _FINAL or processes.is_alive(status["pid"], status["start"])


def _names(folder: str) -> List[str]:
    """Return what is in `folder`, in order; nothing where a script has removed it."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _exists(folder: str) -> bool:
    """Tell whether there is such a folder. Raises OSError where that cannot be told."""
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
