"""Find and signal the processes of a run, and wait until they are gone, by what /proc shows.

A process belongs to a run on this node if its environment has `ORCH_DIR=<the run's folder here>` (two nodes
may be one machine), or if it descends from the run's supervisor. That is the subreaper of everything it
starts, so a grandchild in a session of its own is still a descendant. No process is found or killed by its
name.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Dict, Iterable, List, Optional, Set

from .probes import read
from .probes.read import Stat

SUPERVISOR, LOG_WRITER = "orch-supervisor", "orch-log-writer"
"""The names of these processes in /proc/PID/stat, at the maximum length of 15 bytes."""
_LOG_WRITER_TIMEOUT = 5.0  # seconds in which log writers can write what they still have


def live(pid: int) -> Optional[Stat]:
    """Return the process `pid`; None if it has ended, as a zombie has."""
    process = read.stat("/", pid)
    return process if process is not None and process.is_alive else None


def is_alive(pid: int, start: int) -> bool:
    """Return whether the process with this `pid` and `start` (clock ticks since boot) still runs."""
    process = live(pid)
    return process is not None and process.start == start


def all_live() -> List[Stat]:
    """Return every live process of this machine. Raises OSError if /proc cannot be read."""
    found = [live(int(name)) for name in os.listdir("/proc") if name.isdigit()]
    return [process for process in found if process is not None]


def children_of(processes: Iterable[Stat]) -> Dict[int, List[int]]:
    """Return the pids of the children, by the pid of their parent."""
    children: Dict[int, List[int]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process.pid)
    return children


def belongs(pid: int, directory: str) -> bool:
    """Return whether `pid` is a live process with the tag of the run in `directory`."""
    return live(pid) is not None and _is_tagged(pid, directory)


def descends(pid: int, ancestor: int) -> bool:
    """Return whether `pid` is a live process below `ancestor`."""
    process = live(pid)
    while process is not None and process.parent != ancestor:
        process = read.stat("/", process.parent) if process.parent else None
    return process is not None


def is_of_run(pid: int, directory: str, supervisor: int) -> bool:
    """Return whether `pid` is a live process of the run in `directory`.

    It is also found if it has overwritten its environment, as setproctitle does.
    """
    return belongs(pid, directory) or descends(pid, supervisor)


def environment(pid: int) -> List[bytes]:
    """Return `NAME=VALUE` of each variable of a process; none if it has ended or is another user's."""
    try:
        with open("/proc/{:d}/environ".format(pid), "rb") as file:
            return file.read().split(b"\0")
    except read.GONE:
        return []


def _is_tagged(pid: int, directory: str) -> bool:
    return b"ORCH_DIR=" + os.fsencode(directory) in environment(pid)


def of_run(directory: str, supervisor: Optional[int] = None) -> Set[int]:
    """Return the pids of the run in `directory`: the tagged ones and the descendants of its `supervisor`.

    Log writers are recognized by the files that they have open: a supervisor's own have no tag.
    The supervisor and the calling process are never among them.
    """
    everything = all_live()
    found = {
        process.pid
        for process in everything
        if _is_tagged(process.pid, directory)
        or (process.name == LOG_WRITER and _has_open_below(process.pid, directory))
    }
    children = children_of(everything)
    frontier = [] if supervisor is None else [supervisor]
    while frontier:
        below = children.pop(frontier.pop(), ())
        found.update(below)
        frontier.extend(below)
    return found - {os.getpid(), supervisor}


def supervisors(directory: str) -> Set[int]:
    """Return the pids of live supervisors of the run in `directory`, which have its log open."""
    named = [process.pid for process in all_live() if process.name == SUPERVISOR]
    return {pid for pid in named if _has_open_below(pid, directory)}


def _has_open_below(pid: int, directory: str) -> bool:
    return any(target.startswith(directory + "/") for target in read.open_files("/", pid))


def workers(pids: Set[int]) -> Set[int]:
    """Return, for each of the ranks `pids`, the process that does its work.

    That is the rank itself, unless it is a program, such as a shell script, that runs Python: then it is
    that Python.
    """
    children = children_of(all_live())
    found: Set[int] = set()
    for pid in pids:
        pythons: Set[int] = set()
        frontier = [pid]
        while frontier:
            other = frontier.pop()
            name = executable(other)
            if name.startswith("python"):
                pythons.add(other)  # what that has started is left to it
            elif name:
                frontier.extend(children.get(other, ()))
        found |= pythons or {pid}
    return found


def executable(pid: int) -> str:
    """Return the name of the file that `pid` runs; empty if it has ended or is another user's."""
    return os.path.basename(read.link("/", "/proc/{:d}/exe".format(pid)) or "")


def send(pids: Set[int], number: int) -> int:
    """Send signal `number` to each of `pids` that still exists and is ours; return to how many."""
    sent = 0
    for pid in sorted(pids):  # parents first, as a rule: they must not see how a child was killed
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # gone, or has changed its user: `kill_all` reports what stays
        sent += 1
    return sent


def terminate(pids: Set[int]) -> int:
    """Send SIGTERM to each of `pids`, also to one that is stopped (SIGSTOP, Ctrl-Z); return to how many."""
    sent = send(pids, signal.SIGTERM)
    send(
        pids, signal.SIGCONT
    )  # as systemd does: a stopped process handles SIGTERM once it continues
    return sent


def without_log_writers(pids: Set[int]) -> Set[int]:
    """Return `pids` without log writers, which end by themselves once no process can write to them.

    They are recognized by name, so a rank may pretend to be one. It gains only the time that `kill_all`
    gives to log writers.
    """
    found = {pid: read.stat("/", pid) for pid in pids}
    return {pid for pid, process in found.items() if process is None or process.name != LOG_WRITER}


def kill_all(directory: str, supervisor: Optional[int] = None, timeout: float = 10.0) -> List[int]:
    """Kill every process of the run in `directory`; return the pids left after `timeout` seconds.

    Log writers are killed last: they have time to write what they still have, and then end by themselves.

    `supervisor` is the run's own, which calls this: the kernel gives it orphans of the run to reap.
    An empty list proves that nothing of the run is left. What can be left is a process in an
    uninterruptible wait (a dead network file system, a hung driver).
    """
    deadline = time.monotonic() + timeout
    writers_deadline = time.monotonic() + _LOG_WRITER_TIMEOUT
    pause = 0.005
    while True:
        if supervisor is not None:
            _reap_orphans()
        left = of_run(directory, supervisor)
        if not left or time.monotonic() > deadline:
            return sorted(left)
        is_late = time.monotonic() > writers_deadline
        send(left if is_late else without_log_writers(left), signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.1, pause * 2)


def _reap_orphans() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there are no children at all
