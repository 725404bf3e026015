"""Send what a run's log files gain, from given offsets, until the run has ended here.

The files are the truth: this only reads them, and no error here can affect the ranks that write them. The
kernel reports changes of files; a slow scan of everything finds what it may not report (a network file
system, a lost event). Bytes get the time at which they are read, and those that have been there for a while
(nothing followed, a slow link) that of their mark.
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
_SCAN_INTERVAL = 1.0  # seconds between scans of everything, with inotify
_SCAN_INTERVAL_ALONE = 0.1  # and without
_MIN_READ_INTERVAL = 0.02  # seconds between reads of a stream that gains a little at a time
# Seconds after which bytes have the time of their mark; more than a scan interval.
_LATE_AFTER = 2.0
_STATUS_TIMEOUT = 10.0  # seconds for which a run's folder may be without a status
_MAX_ZEROS = 1 << 44  # in one message
_MAX_OPEN = 256  # log files at a time
_MAX_ODD = 20  # files that are reported as ignored

_ABSENT: Dict[str, Any] = {"state": "absent", "launcher": None, "left": [], "stopped": None}

Send = Callable[[Dict[str, Any], bytes], None]


class Follower:
    """Follows the run in `directory`; `send(header, payload)` gets its reports.

    Headers: {"f": stream, "o": offset, "t": time by which they were written} with the bytes as payload,
    or with {"zeros": count} and none, unless it is `quiet`; {"rank": record} when a rank began or ended;
    {"status": status} when the supervisor's changed; {"odd": path, "why": WHY} once for a file that is
    ignored, or has changed: a "name" that no file of orch has, "no-file" (a pipe, a link, a folder),
    "no-folder", "unreadable", "replaced", "shorter".

    The state of a status is "lost" if the supervisor died without recording an end, and "absent" if there
    is no such run here (any more). The follow is `finished` when the supervisor has ended and every byte is
    sent, which may be long after the end was reported.
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
        # Streams with an open file, least recently used first.
        self._open: "OrderedDict[str, Tail]" = OrderedDict()
        self._dirty: Dict[str, None] = {}  # streams with something to read, in the order of changes
        self._marks: Dict[str, write_times.Known] = {}  # by attempt folder
        self._seen: Dict[
            str, Tuple[int, int, int]
        ] = {}  # record file -> its state when it was sent
        self._odd: Set[str] = set()
        self._folders: Dict[int, str] = {}
        self._status: Optional[Dict[str, Any]] = None
        self._proved_over: Optional[Dict[str, Any]] = None  # a status that was found to be true
        self._next_scan = 0.0
        self._has_scanned = False
        self.finished = False
        self._inotify = None if quiet else self._listen()

    def _listen(self) -> Optional[linux.Inotify]:
        """Return an inotify of the folder; None without one: then the files are scanned more often."""
        try:
            inotify = linux.Inotify()
        except OSError:
            return None  # this node has none left
        try:
            self._folders[inotify.watch(self._directory)] = ""
        except OSError:
            inotify.close()
            return None
        return inotify

    def descriptors(self) -> List[int]:
        """Return the descriptors to wait for; none while a stream waits for its next read."""
        return [] if self._inotify is None or self._dirty else [self._inotify.fileno()]

    def wait(self) -> float:
        """Return after how many seconds `step` has something to do, without any event."""
        due = [self._streams[path].read_at + _MIN_READ_INTERVAL for path in self._dirty]
        return max(0.0, min([self._next_scan, *due]) - time.monotonic())

    def step(self) -> None:
        """Send what is new, at most one chunk of each stream."""
        self._read_events()
        if time.monotonic() >= self._next_scan:
            self._scan()
        ended = self._status is not None and self._status["state"] in _FINAL
        now = time.monotonic()
        for path in list(self._dirty):
            if ended or now - self._streams[path].read_at >= _MIN_READ_INTERVAL:
                self._read(path)
        self.finished = ended and not self._dirty

    def close(self) -> None:
        for stream in self._streams.values():
            stream.release()
        self._streams.clear()
        if self._inotify is not None:
            self._inotify.close()

    def _read_events(self) -> None:
        if self._inotify is None:
            return
        for watch, name in self._inotify.read():
            folder = self._folders.get(watch)
            if folder is None or (folder == "" and name.startswith("attempt-")):
                self._next_scan = 0.0  # an overflow, or a new attempt
            elif folder == "":
                if name == "status.json":
                    self._next_scan = 0.0
            else:
                self._check(folder + "/" + name, name)

    def _scan(self) -> None:
        """Check every file of the run, and the supervisor itself."""
        # The status first: what was written before the end is then found below.
        status = self._current_status()
        if status is not None and status != self._status:
            self._status = status
            self._send({"status": status}, b"")
        for folder in filter(_LIKE_AN_ATTEMPT.match, _names(self._directory)):
            path = os.path.join(self._directory, folder)
            if not files.ATTEMPT.match(folder):
                self._report_odd(folder, "name")
            elif os.path.islink(path) or not os.path.isdir(path):
                self._report_odd(folder, "no-folder")
            else:
                self._watch(path, folder)
                self._scan_attempt(path, folder)
        self._has_scanned = True
        interval = _SCAN_INTERVAL_ALONE if self._inotify is None else _SCAN_INTERVAL
        self._next_scan = time.monotonic() + interval

    def _scan_attempt(self, path: str, folder: str) -> None:
        try:
            names = _names(path)
        except PermissionError:
            self._report_odd(folder, "unreadable")
            return
        for name in names:
            self._check(folder + "/" + name, name)
        for name in names:
            stream = self._streams.get(folder + "/" + name)
            if stream is not None and stream.is_replaced():
                self._report_odd(folder + "/" + name, "replaced")

    def _check(self, path: str, name: str) -> None:
        """Check a file in the folder of an attempt for news; report once what is not a file of orch."""
        try:
            if files.STREAM.match(name):
                self._check_stream(path)
            elif files.RECORD.match(name):
                self._check_record(path)
            elif _LIKE_OURS.match(name):
                self._report_odd(path, "name")
        except FileNotFoundError:
            pass  # a script has just removed it
        except files.NotAFile:
            self._report_odd(path, "no-file")
        except PermissionError:
            self._report_odd(path, "unreadable")
        except Replaced:
            self._report_odd(path, "replaced")

    def _report_odd(self, path: str, why: str) -> None:
        if path not in self._odd and len(self._odd) < _MAX_ODD:
            self._odd.add(path)
            self._send({"odd": path, "why": why}, b"")

    def _watch(self, path: str, folder: str) -> None:
        if self._inotify is None or folder in self._folders.values():
            return
        try:
            self._folders[self._inotify.watch(path)] = folder
        except FileNotFoundError:
            pass  # a script has just removed it
        except OSError:
            self._inotify.close()
            self._inotify = None  # this node has no more watches: scan the files instead

    def _current_status(self) -> Optional[Dict[str, Any]]:
        """Return the status of the run as it is now; None while it is unknown."""
        status = records.read_status(self._directory)
        if status is None or not _holds(status):
            # It may have written its end after the read, and before it was found to have ended.
            status = records.read_status(self._directory) or self._status
        if status is not None and status["state"] == "ended" and not self._is_over(status):
            # A script has written that. A supervisor that lives corrects it soon.
            if self._status is not None and _holds(self._status):
                return self._status
        elif status is not None:
            if status["state"] == "ended":
                # A script may have written that, and the supervisor its end since, before it ended itself.
                status = records.read_status(self._directory) or status
            return status if _holds(status) else dict(status, state="lost")
        elif not _exists(self._directory) and not processes.of_run(self._directory):
            return dict(_ABSENT)
        if time.monotonic() - self._began > _STATUS_TIMEOUT:
            return dict(_ABSENT, state="lost")
        return None

    def _is_over(self, status: Dict[str, Any]) -> bool:
        """Return whether no process of the run is left, except the supervisor that has written `status`.

        A rank can forge a status that says so.
        """
        if status != self._proved_over:
            ranks = processes.of_run(self._directory) - set(status["left"])
            if ranks or processes.supervisors(self._directory) - {status["pid"]}:
                return False
            self._proved_over = status
        return True

    def _check_stream(self, path: str) -> None:
        """Note whether a log file has something new. Raises OSError or Replaced."""
        if self._quiet:
            return
        stream = self._streams.get(path)
        if stream is None:
            # What is there before the first scan may be old.
            level_at = time.monotonic() if self._has_scanned else float("-inf")
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
            self._report_odd(path, "shorter")

    def _use(self, path: str, stream: Tail) -> None:
        """Keep the file open, and close the least recently used one if there are too many."""
        self._open[path] = stream
        self._open.move_to_end(path)
        if len(self._open) > _MAX_OPEN:
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
            self._report_odd(path, "replaced")
        if not has_more:
            del self._dirty[path]
            stream.read_at = stream.level_at = time.monotonic()

    def _send_some(self, path: str, stream: Tail) -> bool:
        """Send what the file has next; return whether it has more. Raises OSError or Replaced."""
        limit, written = _MAX_ZEROS, time.time()
        if time.monotonic() - stream.level_at > _LATE_AFTER:
            limit, written = self._date(path, stream, written)
        offset = stream.offset
        data, zeros = stream.read(limit)
        header = {"f": path, "o": offset, "t": written}
        if zeros:
            self._send(dict(header, zeros=zeros), b"")
        elif data:
            self._send(header, data)
        return stream.offset > offset and stream.size() > stream.offset

    def _date(self, path: str, stream: Tail, now: float) -> Tuple[int, float]:
        """Return how many of the next bytes have the same time, and that time."""
        folder, _, name = path.partition("/")
        known = self._marks.get(folder)
        if known is None:
            known = self._marks[folder] = write_times.Known(os.path.join(self._directory, folder))
        found = known.after(name, stream.offset)
        if found is None:  # written after the last mark: then the time is that of the last write
            return _MAX_ZEROS, max(0.0, min(now, stream.last_write()))
        return min(_MAX_ZEROS, found[0] - stream.offset), min(now, found[1])

    def _check_record(self, path: str) -> None:
        """Send the record of a rank if it has changed. Raises OSError."""
        full = os.path.join(self._directory, path)
        state = os.lstat(full)
        if not stat.S_ISREG(state.st_mode):
            raise files.NotAFile(errno.EINVAL, "not a regular file", full)
        seen = (state.st_ino, state.st_size, state.st_mtime_ns)
        if self._seen.get(path) == seen:
            return
        record = records.read_rank(full)
        if record is not None:
            self._seen[path] = seen
            self._send({"rank": record}, b"")


def _holds(status: Dict[str, Any]) -> bool:
    """Return whether the status is up to date: the supervisor lives, or has recorded the end."""
    return status["state"] in _FINAL or processes.is_alive(status["pid"], status["start"])


def _names(folder: str) -> List[str]:
    """Return the sorted names in `folder`; none if a script has removed it."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _exists(folder: str) -> bool:
    """Return whether there is such a folder. Raises OSError if that is unknown."""
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
