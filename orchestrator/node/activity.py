"""What the main threads of a run's ranks spend their time on, by samples of /proc.

The kernel shows whether a thread runs, and in which of its functions it waits (wchan). That costs the rank
nothing and needs no right to trace it. Samples are taken at irregular moments, as the steps of a training
loop are regular, and only while a controller asks for them.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import files, processes, records, tcp_info
from .probes import read

_INTERVAL = 0.25  # seconds between samples, on average
_UNASKED = 30.0  # seconds after which samples are no longer taken
_LOOK_INTERVAL = (
    60.0  # seconds after which the ranks' processes are found again, whatever their records say
)
_MAX_RANKS = 256
_MAX_PATHS = 512

_KINDS = (
    ("futex", "lock"),
    ("nanosleep", "sleep"),
    ("pipe", "pipe"),
    ("poll", "poll"),
    ("select", "poll"),
    ("wait_woken", "socket"),
    ("sk_wait", "socket"),
    ("unix_", "socket"),
    ("skb", "socket"),
    ("tcp", "socket"),
    ("inet", "socket"),
    ("do_wait", "child"),
)


def kind_of(state: str, function: str) -> str:
    """Return what a thread in this state does, that waits in this function of the kernel.

    One of run, lock, sleep, pipe, poll, socket, disk, child, stopped, other.
    """
    if state == "R" or function == "0":  # 0: it has just been woken
        return "run"
    if state == "D":
        return "disk"
    if state in "Tt":
        return "stopped"
    return next((kind for part, kind in _KINDS if part in function), "other")


class _Thread(NamedTuple):
    """The main thread of a rank; the descriptors are its files in /proc."""

    rank: int
    pid: int
    stat: int
    function: int


class Sampler:
    """Samples the ranks of the run in `directory` until it is no longer asked."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._records: Dict[
            str, Tuple[int, int]
        ] = {}  # file of a record -> its state when it was read
        self._threads: List[_Thread] = []
        self._counts: Dict[int, Dict[str, int]] = {}  # by pid
        self._next = self._asked = time.monotonic()
        self._found_at = float("-inf")

    @property
    def is_over(self) -> bool:
        """Whether no controller has asked for a while."""
        return time.monotonic() - self._asked > _UNASKED

    def descriptors(self) -> List[int]:
        """Return the descriptors to wait for: none."""
        return []

    def wait(self) -> float:
        """Return how many seconds may pass before the next `step`."""
        return max(0.0, self._next - time.monotonic())

    def step(self) -> None:
        """Take a sample if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL * random.uniform(0.5, 1.5)
        for thread in self._threads:
            kind = _sample(thread)
            if kind is not None:
                counts = self._counts[thread.pid]
                counts[kind] = counts.get(kind, 0) + 1

    def report(self, paths: bool) -> Dict[str, Any]:
        """Return {"ranks": [{"rank", "pid", "kinds": {kind: samples}}], "paths": see `tcp_info.py`}.

        Samples are counted since the first report of a rank. Without `paths`, the connections are left out.
        """
        self._asked = time.monotonic()
        self._update()
        ranks = [
            {"rank": thread.rank, "pid": thread.pid, "kinds": self._counts[thread.pid]}
            for thread in self._threads
        ]
        found = tcp_info.paths([thread.pid for thread in self._threads]) if paths else []
        return {"ranks": ranks, "paths": found[:_MAX_PATHS]}

    def close(self) -> None:
        """Close its files."""
        for thread in self._threads:
            os.close(thread.stat)
            os.close(thread.function)
        self._threads = []

    def _update(self) -> None:
        """Find the ranks again if a record has changed, and at times: a shell may run Python now."""
        status = records.try_read(records.read_status, self._directory) or {}
        folder = files.attempt_folder(self._directory, _latest(self._directory, status))
        found = {}
        for name in filter(files.RECORD.match, read.names("/", folder)[: 4 * _MAX_RANKS]):
            try:
                state = os.stat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            found[os.path.join(folder, name)] = (state.st_ino, state.st_mtime_ns)
        now = time.monotonic()
        if found == self._records and now - self._found_at < _LOOK_INTERVAL:
            return
        self.close()
        self._records, self._found_at = found, now
        supervisor = status.get("pid", 0)
        for path in found:
            record = records.try_read(records.read_rank, path)
            if record is None or record["ended"] is not None or len(self._threads) >= _MAX_RANKS:
                continue
            if not processes.is_of_run(record["pid"], self._directory, supervisor):
                continue
            thread = _open(record["rank"], _worker(record["pid"]))
            if thread is not None:
                self._threads.append(thread)
        living = {thread.pid for thread in self._threads}
        self._counts = {pid: self._counts.get(pid, {}) for pid in living}


def _latest(directory: str, status: Dict[str, Any]) -> int:
    numbers = list(files.attempts(directory, status.get("attempt") or 0))
    return numbers[-1] if numbers else 0


def _worker(pid: int) -> int:
    """Return the process that does the work of a rank: itself, or the Python that it runs."""
    if processes.executable(pid).startswith("python"):
        return pid
    working = processes.workers({pid})
    return working.pop() if len(working) == 1 else pid


def _open(rank: int, pid: int) -> Optional[_Thread]:
    """Return the main thread of a process; None if it has ended or is another user's."""
    folder = "/proc/{0:d}/task/{0:d}/".format(pid)
    try:
        stat = os.open(folder + "stat", os.O_RDONLY | os.O_CLOEXEC)
    except read.GONE:
        return None
    try:
        return _Thread(rank, pid, stat, os.open(folder + "wchan", os.O_RDONLY | os.O_CLOEXEC))
    except read.GONE:
        os.close(stat)
        return None


def _sample(thread: _Thread) -> Optional[str]:
    """Return what a thread does now; None if it has ended."""
    try:
        function = os.pread(thread.function, 80, 0)
        state = os.pread(thread.stat, 512, 0).rpartition(b") ")[2][:1]
    except OSError:
        return None  # it has ended, and its record will change
    return kind_of(state.decode("ascii"), function.decode("ascii", "replace"))
