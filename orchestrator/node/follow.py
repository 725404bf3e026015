"""Send what a run's log files gain, from given offsets, until the run has ended here.

The files are the truth: this only reads them, and nothing that it does or fails to do can reach the
ranks that write them. The kernel tells when a file has changed; a slow look at everything besides
catches what it may not tell (a network file system, a lost event). Bytes get the time at which they are
read, and those that have stood there for a while (nobody followed, a slow link) that of their mark.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections import OrderedDict
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from . import files, linux, processes, records, write_times
from .tail import Replaced, Tail

_FINAL = ("ended", "lost", "absent")
_LIKE_OURS = re.compile(r"(rank-[0-9]+|launcher)\.(out|err|json)\Z")
_LIKE_AN_ATTEMPT = re.compile(r"attempt-[0-9]+\Z")
_LOOK_EVERY = 1.0  # seconds between looks at everything, with the kernel's help
_LOOK_BLIND = 0.1  # and without
_BREATH = 0.02  # a stream that trickles is read at most this often, in seconds
_LATE = 2.0  # seconds after which bytes are not news any more; more than a look takes to come round
_STATUS_TIMEOUT = 10.0  # seconds for which a run's folder may be without a status
_ALL = 1 << 44  # bytes told by one message at most, where they are zeros
_MOST_OPEN = 256  # log files at a time
_MOST_ODD = 20  # files of which it is told that they are passed over

_ABSENT: Dict[str, Any] = {"state": "absent", "launcher": None, "left": [], "stopped": None}

Send = Callable[[Dict[str, Any], bytes], None]


class Follower:
    """Follows the run in `directory`; `send(header, payload)` gets what there is to tell.

    Headers: {"f": stream, "o": offset, "t": time by which they were written} with the bytes as payload,
    or with {"zeros": how many}, unless it is to be `quiet`; {"rank": record} when a rank began or ended;
    {"status": status} when the supervisor's changed; {"odd": path, "why": WHY} once for what is passed
    over, or is not what it was: a "name" that none of ours has, "no-file" (a pipe, a link, a folder),
    "no-folder", "unreadable", "replaced", "shorter".

    The state of a status is "lost" when the supervisor died without a word, and "absent" when there is no
    such run here (any more). The follow is `finished` when the supervisor has ended and every byte is
    sent, which may be long after the end was told.
    """

    def __init__(
        self, directory: str, offsets: Dict[str, int], send: Send, quiet: bool = False
    ) -> None:
        self._directory = directory
        self._offsets = offsets
        self._send = send
        self._quiet = quiet
        self._began = time.monotonic()
        self._streams: Dict[str, Tail] = {}
        self._open: "OrderedDict[str, Tail]" = OrderedDict()  # those that may be, last used last
        self._dirty: Dict[str, None] = {}  # streams with something to read, in the order of news
        self._marks: Dict[str, write_times.Known] = {}  # by attempt folder
        self._told: Dict[str, Tuple[int, int, int]] = {}  # record file -> what was told of it
        self._odd: Set[str] = set()
        self._folders: Dict[int, str] = {}
        self._status: Optional[Dict[str, Any]] = None
        self._proved_over: Optional[Dict[str, Any]] = None  # a status, after which nothing lived on
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
            stream.release()
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
            else:
                self._look_at(folder + "/" + name, name)

    def _look(self) -> None:
        """Look at every file of the run, and at the supervisor itself."""
        # The status first: what was written before the end is then found below.
        status = self._look_at_supervisor()
        if status is not None and status != self._status:
            self._status = status
            self._send({"status": status}, b"")
        for folder in filter(_LIKE_AN_ATTEMPT.match, _names(self._directory)):
            path = os.path.join(self._directory, folder)
            if not files.ATTEMPT.match(folder):
                self._tell_odd(folder, "name")
            elif not _is_folder(path):
                self._tell_odd(folder, "no-folder")
            else:
                self._watch(path, folder)
                self._look_into(path, folder)
        self._has_looked = True
        self._next_look = time.monotonic() + (_LOOK_BLIND if self._inotify is None else _LOOK_EVERY)

    def _look_into(self, path: str, folder: str) -> None:
        try:
            names = _names(path)
        except PermissionError:
            self._tell_odd(folder, "unreadable")
            return
        for name in names:
            self._look_at(folder + "/" + name, name)
        for name in names:
            stream = self._streams.get(folder + "/" + name)
            if stream is not None and stream.is_replaced():
                self._tell_odd(folder + "/" + name, "replaced")

    def _look_at(self, path: str, name: str) -> None:
        """See what is new of a file in the folder of an attempt; of what is not ours it is told once."""
        try:
            if files.STREAM.match(name):
                self._mark(path)
            elif files.RECORD.match(name):
                self._tell_rank(path)
            elif _LIKE_OURS.match(name):
                self._tell_odd(path, "name")
        except FileNotFoundError:
            pass  # a script has removed it just now
        except files.NotAFile:
            self._tell_odd(path, "no-file")
        except PermissionError:
            self._tell_odd(path, "unreadable")
        except Replaced:
            self._tell_odd(path, "replaced")

    def _tell_odd(self, path: str, why: str) -> None:
        if path not in self._odd and len(self._odd) < _MOST_ODD:
            self._odd.add(path)
            self._send({"odd": path, "why": why}, b"")

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
        if status is not None and status["state"] == "ended" and not self._is_over(status):
            # A script has written that. A supervisor that lives corrects it soon.
            if self._status is not None and _stands(self._status):
                return self._status
        elif status is not None:
            return status if _stands(status) else dict(status, state="lost")
        elif not _exists(self._directory) and not processes.of_run(self._directory):
            return dict(_ABSENT)
        if time.monotonic() - self._began > _STATUS_TIMEOUT:
            return dict(_ABSENT, state="lost")
        return None

    def _is_over(self, status: Dict[str, Any]) -> bool:
        """Tell whether nothing of the run lives on: a rank can write into its folder that it has ended."""
        if status != self._proved_over:
            if processes.of_run(self._directory) - set(status["left"]):
                return False
            self._proved_over = status
        return True

    def _mark(self, path: str) -> None:
        """Note whether a log file has something new. Raises OSError or Replaced."""
        if self._quiet:
            return
        stream = self._streams.get(path)
        if stream is None:
            # What is there before the first look may be there for long.
            level_at = time.monotonic() if self._has_looked else float("-inf")
            full = os.path.join(self._directory, path)
            stream = self._streams[path] = Tail(full, self._offsets.get(path, 0), level_at)
        if path in self._dirty:
            return
        self._use(path, stream)
        size = stream.size()
        if size > stream.offset:
            self._dirty[path] = None
            return
        stream.level_at = time.monotonic()
        if size < stream.offset:
            self._tell_odd(path, "shorter")

    def _use(self, path: str, stream: Tail) -> None:
        """Let the file be open, and close the one that was not used for longest if they are too many."""
        self._open[path] = stream
        self._open.move_to_end(path)
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].release()

    def _read(self, path: str) -> None:
        stream = self._streams[path]
        self._use(path, stream)
        try:
            has_more = self._send_some(path, stream)
        except FileNotFoundError:
            has_more = False  # a script has removed it while it was closed
        except (PermissionError, Replaced, files.NotAFile):
            has_more = False
            self._tell_odd(path, "replaced")
        if not has_more:
            del self._dirty[path]
            stream.read_at = stream.level_at = time.monotonic()

    def _send_some(self, path: str, stream: Tail) -> bool:
        """Send what the file has next; return whether it has more. Raises OSError or Replaced."""
        most, written = _ALL, time.time()
        if time.monotonic() - stream.level_at > _LATE:
            most, written = self._date(path, stream, written)
        offset = stream.offset
        data, zeros = stream.read(most)
        header = {"f": path, "o": offset, "t": written}
        if zeros:
            self._send(dict(header, zeros=zeros), b"")
        elif data:
            self._send(header, data)
        return stream.offset > offset and stream.size() > stream.offset

    def _date(self, path: str, stream: Tail, now: float) -> Tuple[int, float]:
        """Return how many of the next bytes were written by one time, and that time."""
        folder, _, name = path.partition("/")
        known = self._marks.get(folder)
        if known is None:
            known = self._marks[folder] = write_times.Known(os.path.join(self._directory, folder))
        found = known.after(name, stream.offset)
        if found is None:  # written since the last mark: then it is the last write
            return _ALL, max(0.0, min(now, stream.last_write()))
        return min(_ALL, found[0] - stream.offset), min(now, found[1])

    def _tell_rank(self, path: str) -> None:
        """Tell of a rank whose record has changed. Raises OSError."""
        full = os.path.join(self._directory, path)
        state = os.lstat(full)
        if not stat.S_ISREG(state.st_mode):
            raise files.NotAFile(errno.EINVAL, "not a regular file", full)
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


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _exists(folder: str) -> bool:
    """Tell whether there is such a folder. Raises OSError where that cannot be told."""
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
