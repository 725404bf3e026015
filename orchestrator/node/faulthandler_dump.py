"""Ask processes for their stacks by the signal that the hook (`stack_hook.py`) handles.

The signal would end a process that does not catch it. So it is only sent to one that has its file for
stacks open and catches the signal now; a process forked from it has the file open too, until an exec closes
the file and resets the signal. Processes that share a file are asked one after the other: a dump does not
name its process.
"""

from __future__ import annotations

import os
import time
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from . import files, parse_dumps
from .probes import read
from .stack_hook import SIGNAL

_BIT = 1 << (SIGNAL - 1)
# Seconds for one process to answer: the handler runs at once unless the kernel is busy.
_DUMP_TIMEOUT = 2.0
_POLL_INTERVAL = 0.002
# Polls in a row that find the handler finished: between two of them it could not have been starting.
_MIN_IDLE_POLLS = 2
_YOUNG = 1.0  # seconds in which a child counts as new
_MAX_FILE_BYTES = 1 << 20  # a larger file is emptied first


class Candidate(NamedTuple):
    """A process to ask, which began at `start` (ticks since boot), and the file for its stacks.

    `is_rank` is whether orch itself has started it.
    """

    pid: int
    start: int
    path: str
    is_rank: bool


def ask(
    candidates: List[Candidate], until: float
) -> Tuple[Dict[int, List[parse_dumps.Thread]], Dict[int, str]]:
    """Return the threads of each process, and why there are none of the others.

    Takes no longer than `until` (monotonic). No other caller may ask the same processes at that time.
    """
    found: Dict[int, List[parse_dumps.Thread]] = {}
    failed: Dict[int, str] = {}
    queues: Dict[str, List[Candidate]] = {}
    for candidate in candidates:
        queues.setdefault(candidate.path, []).append(candidate)
    asked: Dict[str, _Question] = {}
    while queues or asked:
        for path, queue in list(queues.items()):
            while queue and path not in asked:
                candidate = queue.pop(0)
                try:
                    asked[path] = _Question(candidate)
                except OSError as error:
                    failed[candidate.pid] = error.strerror or str(error)
            if not queue:
                del queues[path]
        for path, question in list(asked.items()):
            late = time.monotonic() > min(until, question.until)
            answer = question.poll()
            if answer is None and not late:
                continue
            del asked[path]
            if answer:
                found[question.pid] = answer
            elif answer is None:
                failed[question.pid] = "it does not answer (state {})".format(_state(question.pid))
                # What it prints later must not be taken for another's.
                for other in queues.pop(path, ()):
                    failed[other.pid] = "process {:d} was asked first".format(question.pid)
            else:
                failed[question.pid] = "it ended, or could not write to {}".format(path)
        time.sleep(_POLL_INTERVAL)
    return found, failed


class _Question:
    """One process that has been asked. Raises OSError, which says why, if it cannot be asked."""

    def __init__(self, candidate: Candidate) -> None:
        self.pid = candidate.pid
        self.until = time.monotonic() + _DUMP_TIMEOUT
        self._path = candidate.path
        self._idle_polls = 0
        why_not = _why_not(candidate)
        if why_not is not None:
            raise OSError(why_not)
        self._blocked = _blocking(self.pid)
        self._offset = _end_of(self._path)
        os.kill(self.pid, SIGNAL)

    def poll(self) -> Optional[List[parse_dumps.Thread]]:
        """Return its threads once all are written, [] if nothing will be, None while it writes.

        While the handler runs, its thread blocks the signal.
        """
        status = _status(self.pid)
        if not status:
            return []
        is_busy = _mask(status, "ShdPnd") & _BIT or _blocking(self.pid) - self._blocked
        self._idle_polls = 0 if is_busy else self._idle_polls + 1
        if self._idle_polls < _MIN_IDLE_POLLS:
            return None
        try:
            with os.fdopen(files.open_file(self._path), "rb") as file:
                file.seek(self._offset)
                return parse_dumps.read_dump(
                    file.read(4 * _MAX_FILE_BYTES).decode("utf-8", "replace")
                )
        except OSError:
            return []


def _why_not(candidate: Candidate) -> Optional[str]:
    """Return why a process cannot be asked; None if it can."""
    status, state = _status(candidate.pid), _state(candidate.pid)
    if not status:
        return "it has ended"
    if os.path.realpath(candidate.path) not in read.open_files("/", candidate.pid):
        return "it has no hook (-I, -E, -S, not Python, or ORCH_STACKS=0)"
    if not _mask(status, "SigCgt") & _BIT:
        return "it has reset signal {:d}".format(SIGNAL)
    if state in "Tt":
        return "it is stopped (SIGSTOP, or a debugger)"
    if _mask(status, "ShdPnd") & _BIT:
        return "it did not answer the last time (state {})".format(state)
    # Either may be about to exec a program that does not catch the signal.
    if not candidate.is_rank and read.age("/", candidate.start) < _YOUNG:
        return "it has just begun"
    if not candidate.is_rank and state == "D":
        return "it hangs in the kernel (state D)"
    return None


def _end_of(path: str) -> int:
    """Return the size of a file of stacks, once it is emptied if large. Raises OSError."""
    with os.fdopen(files.open_file(path, os.O_WRONLY), "wb") as file:
        if os.fstat(file.fileno()).st_size > _MAX_FILE_BYTES:
            file.truncate(0)  # the process that writes appends
        return os.fstat(file.fileno()).st_size


def _blocking(pid: int) -> Set[int]:
    """Return the threads that block the signal."""
    threads = map(int, read.names("/", "/proc/{:d}/task".format(pid)))
    return {thread for thread in threads if _mask(_status(pid, thread), "SigBlk") & _BIT}


def _status(pid: int, thread: Optional[int] = None) -> Dict[str, str]:
    """Return the fields of /proc/PID/status, or of a thread's; none if it has ended."""
    lines = read.lines("/", "/proc/{:d}/task/{:d}/status".format(pid, thread or pid))
    return {
        name: value for name, found, value in (line.partition(":\t") for line in lines) if found
    }


def _mask(status: Dict[str, str], name: str) -> int:
    return int(status.get(name, "0"), 16)


def _state(pid: int) -> str:
    return _status(pid).get("State", "X")[:1]
