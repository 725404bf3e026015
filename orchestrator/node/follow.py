"""Send what a run's log files gain, from given offsets, until the run has ended here.

The files are the truth: this only reads them, and nothing that it does or fails to do can reach the
ranks that write them. The kernel tells when a file has changed; a slow look at everything besides
catches what it may not tell (a network file system, a lost event).
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import files, linux, processes

CHUNK = 1 << 19
_STREAM = re.compile(r"(rank-\d+|launcher)\.(out|err)\Z")
_RECORD = re.compile(r"rank-\d+\.json\Z")
_LOOK_EVERY = 1.0  # seconds between looks at everything, with the kernel's help
_LOOK_BLIND = 0.1  # and without
_BREATH = 0.02  # a stream that trickles is read at most this often, in seconds

Send = Callable[[Dict[str, Any], bytes], None]


class _Stream:
    __slots__ = ("descriptor", "offset", "read_at")

    def __init__(self, path: str, offset: int) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.offset = offset
        self.read_at = 0.0


class Follower:
    """Follows the run in `directory`; `send(header, payload)` gets what there is to tell.

    Headers: {"f": stream, "o": offset, "t": time of reading} with the bytes as payload;
    {"rank": record} when a rank began or ended; {"status": status} when the supervisor's changed; its
    state is "lost" when the supervisor died without a word. It is `finished` when the supervisor has
    ended and every byte is sent, which may be long after the end was told.
    """

    def __init__(self, directory: str, offsets: Dict[str, int], send: Send) -> None:
        self._directory = directory
        self._offsets = offsets
        self._send = send
        self._streams: Dict[str, _Stream] = {}
        self._dirty: Dict[str, None] = {}  # streams with something to read, in the order of news
        self._told: Dict[str, Tuple[int, int]] = {}  # record file -> (inode, size) already told
        self._folders: Dict[int, str] = {}
        self._status: Optional[Dict[str, Any]] = None
        self._next_look = 0.0
        self.finished = False
        try:
            self._inotify: Optional[linux.Inotify] = linux.Inotify()
            self._folders[self._inotify.watch(directory)] = ""
        except OSError:
            self._inotify = None  # none left on this node: look at the files instead

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
        ended = self._status is not None and self._status["state"] in ("ended", "lost")
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
        self._look_at_supervisor()
        with os.scandir(self._directory) as entries:
            folders = sorted(entry.name for entry in entries if entry.name.startswith("attempt-"))
        for folder in folders:
            path = os.path.join(self._directory, folder)
            if self._inotify is not None and folder not in self._folders.values():
                self._folders[self._inotify.watch(path)] = folder
            for name in sorted(os.listdir(path)):
                if _STREAM.match(name):
                    self._mark(folder + "/" + name)
                elif _RECORD.match(name):
                    self._tell_rank(folder + "/" + name)
        self._next_look = time.monotonic() + (_LOOK_BLIND if self._inotify is None else _LOOK_EVERY)

    def _look_at_supervisor(self) -> None:
        status = files.read_json(os.path.join(self._directory, "status.json"))
        if status is None:
            return
        if status["state"] != "ended" and not processes.is_alive(status["pid"], status["start"]):
            # It may have written its last word between our two looks.
            status = files.read_json(os.path.join(self._directory, "status.json"))
            if status["state"] != "ended":
                status["state"] = "lost"
        if status != self._status:
            self._status = status
            self._send({"status": status}, b"")

    def _mark(self, path: str) -> None:
        stream = self._streams.get(path)
        if stream is None:
            full = os.path.join(self._directory, path)
            stream = self._streams[path] = _Stream(full, self._offsets.get(path, 0))
        if path not in self._dirty and os.fstat(stream.descriptor).st_size > stream.offset:
            self._dirty[path] = None

    def _read(self, path: str) -> None:
        stream = self._streams[path]
        data = os.pread(stream.descriptor, CHUNK, stream.offset)
        if data:
            self._send({"f": path, "o": stream.offset, "t": time.time()}, data)
            stream.offset += len(data)
        if len(data) < CHUNK:
            del self._dirty[path]
            stream.read_at = time.monotonic()

    def _tell_rank(self, path: str) -> None:
        full = os.path.join(self._directory, path)
        state = os.stat(full)
        seen = (state.st_ino, state.st_size)
        if self._told.get(path) != seen:
            self._told[path] = seen
            self._send({"rank": files.read_json(full)}, b"")
