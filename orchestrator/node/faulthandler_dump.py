"""Ask processes for their stacks by the signal that the hook (`hook.py`) listens to.

The signal would end a process that does not catch it. So it is sent to one only that holds its file for
stacks open and catches the signal now; what has forked off it holds the file too, until an exec closes it
and resets the signal. Those that share a file are asked one after the other, for a dump bears no name.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from . import files, parse_dumps
from .stack_hook import SIGNAL

_BIT = 1 << (SIGNAL - 1)
_DUMP_TIMEOUT = (
    2.0  # seconds for one process to answer: the handler runs at once unless the kernel is busy
)
_LOOK_EVERY = 0.002
_SETTLED = (
    2  # looks in a row that find the handler done: between them it could not have been starting
)
_YOUNG = 1.0  # seconds in which a child counts as new
_LARGEST = 1 << 20  # bytes of a file at which it begins anew
_TICKS = os.sysconf("SC_CLK_TCK")


class Candidate(NamedTuple):
    """A process to be asked, that began at `start` (ticks since boot), and where its stacks would go.

    `is_rank` is one that orch itself has started.
    """

    pid: int
    start: int
    path: str
    is_rank: bool


def ask(
    candidates: List[Candidate], until: float
) -> Tuple[Dict[int, List[parse_dumps.Thread]], Dict[int, str]]:
    """Return the threads of each process, and of the others why there are none.

    Takes no longer than `until` (monotonic). Nobody else may ask the same processes meanwhile.
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
                except _Unready as why:
                    failed[candidate.pid] = str(why)
            if not queue:
                del queues[path]
        for path, question in list(asked.items()):
            late = time.monotonic() > min(until, question.until)
            answer = question.look()
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
        time.sleep(_LOOK_EVERY)
    return found, failed


class _Unready(Exception):
    """The process cannot be asked; the argument says why."""


class _Question:
    """One process that is being asked."""

    def __init__(self, candidate: Candidate) -> None:
        self.pid = candidate.pid
        self.until = time.monotonic() + _DUMP_TIMEOUT
        self._path = candidate.path
        self._settled = 0
        status = _status(self.pid)
        if status is None:
            raise _Unready("it has ended")
        if not _holds(self.pid, self._path):
            raise _Unready("it has no hook (-I, -E, -S, not Python, or ORCH_STACKS=0)")
        if not _mask(status, "SigCgt") & _BIT:
            raise _Unready("it has reset signal {:d}".format(SIGNAL))
        if _state(self.pid) in "Tt":
            raise _Unready("it is stopped (SIGSTOP, or a debugger)")
        if _mask(status, "ShdPnd") & _BIT:
            raise _Unready("it has not answered the last time (state {})".format(_state(self.pid)))
        # Either may be about to exec something that catches nothing.
        if not candidate.is_rank and _age(candidate.start) < _YOUNG:
            raise _Unready("it began just now")
        if not candidate.is_rank and _state(self.pid) == "D":
            raise _Unready("it hangs in the kernel (state D)")
        self._deaf = _blocking(self.pid)
        try:
            size = _size(self._path)
            if size > _LARGEST:
                _empty(self._path)  # whoever writes appends
                size = 0
            self._offset = size
            os.kill(self.pid, SIGNAL)
        except OSError as error:
            raise _Unready(error.strerror or str(error)) from None

    def look(self) -> Optional[List[parse_dumps.Thread]]:
        """Return its threads once all are told, [] when nothing will be, None while it is at it.

        While the handler runs, its thread blocks the signal.
        """
        status = _status(self.pid)
        if status is None:
            return []
        is_busy = _mask(status, "ShdPnd") & _BIT or _blocking(self.pid) - self._deaf
        self._settled = 0 if is_busy else self._settled + 1
        if self._settled < _SETTLED:
            return None
        try:
            with os.fdopen(files.open_file(self._path), "rb") as file:
                file.seek(self._offset)
                return parse_dumps.read_dump(file.read(4 * _LARGEST).decode("utf-8", "replace"))
        except OSError:
            return []


def _size(path: str) -> int:
    """Return the size of a file of stacks. Raises OSError where something else stands there."""
    state = os.lstat(path)
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "{} is not a file".format(os.path.basename(path)))
    return state.st_size


def _empty(path: str) -> None:
    descriptor = files.open_file(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holds(pid: int, path: str) -> bool:
    """Tell whether the process has the file at `path` open."""
    want = os.path.realpath(path)
    folder = "/proc/{:d}/fd".format(pid)
    try:
        for name in os.listdir(folder):
            try:
                if os.readlink(os.path.join(folder, name)) == want:
                    return True
            except FileNotFoundError:
                continue
    except OSError:
        pass  # it ended, or has become somebody else's
    return False


def _blocking(pid: int) -> Set[int]:
    """Return the threads that block the signal."""
    found = set()
    try:
        for name in os.listdir("/proc/{:d}/task".format(pid)):
            status = _status(pid, int(name))
            if status is not None and _mask(status, "SigBlk") & _BIT:
                found.add(int(name))
    except OSError:
        pass  # it ended
    return found


def _status(pid: int, thread: Optional[int] = None) -> Optional[Dict[str, str]]:
    try:
        with open(
            "/proc/{:d}/task/{:d}/status".format(pid, thread or pid), errors="replace"
        ) as file:
            lines = [line.partition(":\t") for line in file.read().splitlines()]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return {name: value for name, _, value in lines}


def _mask(status: Dict[str, str], name: str) -> int:
    return int(status.get(name, "0"), 16)


def _state(pid: int) -> str:
    return (_status(pid) or {}).get("State", "X")[:1]


def _age(start: int) -> float:
    """Return for how many seconds there has been a process that began at `start`."""
    with open("/proc/uptime", encoding="ascii") as file:
        return float(file.read().split()[0]) - start / _TICKS
