"""Find the processes of a lab in /proc: no state is kept that could be stale."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process: its id on this machine, its arguments, its environment as in /proc."""

    pid: int
    argv: list[str]
    environ: bytes


class Init(NamedTuple):
    """Process 1 of a host, or of the controller (`ctl`)."""

    pid: int
    lab: str
    directory: Path
    node: str


def inits(lab: str | None = None) -> list[Init]:
    """Return process 1 of every host of a lab; None: of every lab on this machine."""
    found = []
    for pid in _pids():
        one = init(pid)
        if one is not None and lab in (None, one.lab):
            found.append(one)
    return found


def init(pid: int) -> Init | None:
    """Return the process as process 1 of a host; None if it is not one."""
    argv = _argv(pid)
    if argv[-5:-3] != ["-m", "labkit.host"] or not _is_roots(pid):
        return None
    lab, directory, node = argv[-3:]
    return Init(pid, lab, Path(directory), node)


def same_namespace(pid: int, kind: str) -> list[Process]:
    """Return the processes that share a namespace (`pid`, `net`, ...) with process `pid`."""
    ours = namespace(pid, kind)
    return [_process(other) for other in _pids() if ours and namespace(other, kind) == ours]


def namespace(pid: int, kind: str) -> str | None:
    """Return the id of a namespace of a process, such as `net:[4026531840]`; None if it has ended."""
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except OSError:
        return None


def kill(targets: Iterable[Init], *, wait: float, meanwhile: Callable[[], None]) -> list[Init]:
    """Kill processes and wait at most `wait` seconds until all have ended; return those that are left.

    The kernel ends the whole PID namespace with its process 1, but waits until the parents of processes
    from outside have reaped these; `meanwhile` is called repeatedly for that.
    """
    waiting: dict[int, Init] = {}
    for target in targets:
        try:
            fd = os.pidfd_open(target.pid)
        except ProcessLookupError:
            continue
        waiting[fd] = target
        # Checked again, now that the id cannot be reused.
        if init(target.pid) == target:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    deadline = time.monotonic() + wait
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    while waiting and time.monotonic() < deadline:
        meanwhile()
        for fd, _ in poll.poll(20):
            poll.unregister(fd)
            os.close(fd)
            del waiting[fd]
    for fd in waiting:
        os.close(fd)
    return list(waiting.values())


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _process(pid: int) -> Process:
    return Process(pid, _argv(pid), _read(f"/proc/{pid}/environ"))


def _argv(pid: int) -> list[str]:
    words = _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]
    return [os.fsdecode(word) for word in words]


def _is_roots(pid: int) -> bool:
    """Return whether a process belongs to root: the arguments of others are not trusted."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid == 0
    except FileNotFoundError:
        return False


def _read(path: str) -> bytes:
    """Return the content of a file of /proc; empty if the process has ended."""
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
