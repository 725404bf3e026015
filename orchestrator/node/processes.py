"""Find, signal and outlast the processes of a run, by what /proc says.

A process belongs to a run on this node when its environment carries `ORCH_DIR=<the run's folder here>`
(two nodes may be one machine), or when it descends from the run's supervisor, which is the subreaper of
everything it starts, so that a grandchild in a session of its own is still a descendant. Nothing is ever
found or killed by its name.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Dict, List, NamedTuple, Optional, Set

LOG_WRITER = "orch-log-writer"
"""The name of a log writer (`log_writer.py`) in /proc/PID/stat: as long as such a name may be."""
_WRITERS_TIME = 5.0  # seconds that log writers have to write what they still have


class Process(NamedTuple):
    """One live process: its pid, its parent's, its state letter, its start (clock ticks since boot), and
    the name that it has given itself.
    """

    pid: int
    parent: int
    state: str
    start: int
    name: str


def read_process(pid: int) -> Optional[Process]:
    """Return the process `pid`, or None where there is none (any more)."""
    try:
        with open("/proc/{:d}/stat".format(pid), "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in brackets and may hold anything, brackets and blanks too.
    end = stat.rindex(b")")
    fields = stat[end + 2 :].split()
    name = stat[stat.index(b"(") + 1 : end].decode("utf-8", "replace")
    return Process(pid, int(fields[1]), fields[0].decode("ascii"), int(fields[19]), name)


def is_alive(pid: int, start: int) -> bool:
    """Tell whether the process that had `pid` and began at `start` still runs (a zombie does not)."""
    process = read_process(pid)
    return process is not None and process.start == start and process.state not in "ZX"


def _all_processes() -> List[Process]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = read_process(int(name))
            if process is not None and process.state not in "ZX":
                found.append(process)
    return found


def belongs(pid: int, directory: str) -> bool:
    """Tell whether `pid` is a live process that carries the tag of the run in `directory`."""
    process = read_process(pid)
    return process is not None and process.state not in "ZX" and _is_tagged(pid, _tag(directory))


def descends(pid: int, ancestor: int) -> bool:
    """Tell whether `pid` is a live process below `ancestor`."""
    process = read_process(pid)
    if process is None or process.state in "ZX":
        return False
    while process is not None and process.parent != ancestor:
        process = read_process(process.parent) if process.parent else None
    return process is not None


def is_of_run(pid: int, directory: str, supervisor: int) -> bool:
    """Tell whether `pid` is a live process of the run in `directory`, whatever it made of its environment
    (setproctitle overwrites it).
    """
    return belongs(pid, directory) or descends(pid, supervisor)


def _tag(directory: str) -> bytes:
    return b"ORCH_DIR=" + os.fsencode(directory)


def _is_tagged(pid: int, tag: bytes) -> bool:
    try:
        with open("/proc/{:d}/environ".format(pid), "rb") as file:
            return tag in file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it ended just now, or is another user's


def _writes_into(pid: int, directory: str) -> bool:
    """Tell whether a process has a file open below `directory`."""
    folder = "/proc/{:d}/fd".format(pid)
    try:
        targets = [os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it ended just now, or is another user's
    return any(target.startswith(directory + "/") for target in targets)


def of_run(directory: str, supervisor: Optional[int] = None) -> Set[int]:
    """Return the pids of the run in `directory`: the tagged ones and the descendants of its `supervisor`.

    Log writers are known by the files that they have open: a supervisor's own carry no tag.
    The supervisor and the calling process are never among them.
    """
    tag = _tag(directory)
    everything = _all_processes()
    children: Dict[int, List[int]] = {}
    for process in everything:
        children.setdefault(process.parent, []).append(process.pid)
    found = {
        process.pid
        for process in everything
        if _is_tagged(process.pid, tag)
        or (process.name == LOG_WRITER and _writes_into(process.pid, directory))
    }
    frontier = list(children.get(supervisor, ())) if supervisor is not None else []
    while frontier:
        pid = frontier.pop()
        if pid not in found:
            found.add(pid)
        frontier.extend(children.pop(pid, ()))
    return found - {os.getpid(), supervisor}


def workers(pids: Set[int]) -> Set[int]:
    """Return, for each of the ranks `pids`, the process that does its work.

    That is the rank itself, unless it is a program, such as a shell script, that runs Python: then it is
    that Python.
    """
    children: Dict[int, List[int]] = {}
    for process in _all_processes():
        children.setdefault(process.parent, []).append(process.pid)
    found: Set[int] = set()
    for pid in pids:
        pythons: Set[int] = set()
        frontier = [pid]
        while frontier:
            other = frontier.pop()
            name = executable(other)
            if name.startswith("python"):
                pythons.add(other)  # what is below it is its own affair
            elif name:
                frontier.extend(children.get(other, ()))
        found |= pythons or {pid}
    return found


def executable(pid: int) -> str:
    """Return the name of the file that `pid` runs; empty where it has ended, or is not ours to look at."""
    try:
        return os.path.basename(os.readlink("/proc/{:d}/exe".format(pid)))
    except OSError:
        return ""


def send(pids: Set[int], number: int) -> int:
    """Send signal `number` to each of `pids` that is still there and ours; return to how many."""
    sent = 0
    for pid in sorted(pids):  # parents first, as a rule: none is to see how its child was killed
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # gone, or has changed its user: `kill_all` reports what stays
        sent += 1
    return sent


def terminate(pids: Set[int]) -> int:
    """Ask each of `pids` to end, also one that is stopped (SIGSTOP, Ctrl-Z); return how many there were."""
    sent = send(pids, signal.SIGTERM)
    send(pids, signal.SIGCONT)  # as systemd does: until it continues, it cannot act on the other
    return sent


def without_log_writers(pids: Set[int]) -> Set[int]:
    """Return `pids` without log writers, which end by themselves when nobody can write to them any more.

    It goes by the name, so a rank may pretend to be one. That spares it nothing but the time that they have
    in `kill_all`.
    """
    found = {pid: read_process(pid) for pid in pids}
    return {pid for pid, process in found.items() if process is None or process.name != LOG_WRITER}


def kill_all(directory: str, supervisor: Optional[int] = None, patience: float = 10.0) -> List[int]:
    """Kill every process of the run in `directory`; return the pids left after `patience` seconds.

    Log writers are last: they have time to write what they still have, and end by themselves then.

    `supervisor` is the run's own, calling this: its orphans come to it, to be reaped.
    An empty list is the proof that nothing of the run is left. What can be left is a process in an
    uninterruptible wait (a dead network file system, a hung driver).
    """
    deadline = time.monotonic() + patience
    writers_until = time.monotonic() + _WRITERS_TIME
    pause = 0.005
    while True:
        if supervisor is not None:
            _reap_orphans()
        left = of_run(directory, supervisor)
        if not left or time.monotonic() > deadline:
            return sorted(left)
        is_late = time.monotonic() > writers_until
        send(left if is_late else without_log_writers(left), signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.1, pause * 2)


def _reap_orphans() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there are no children at all
