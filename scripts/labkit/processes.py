"""Find a lab's processes in /proc, by what they are: nothing is remembered that could be stale."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """One process: its id as this machine sees it, its arguments, its environment as in /proc."""

    pid: int
    argv: list[str]
    environ: bytes


class Init(NamedTuple):
    """Process 1 of a host (or of the controller's side, `ctl`)."""

    pid: int
    lab: str
    directory: Path
    node: str


def inits(lab: str | None = None) -> list[Init]:
    """Process 1 of every host of a lab; None: of every lab on this machine."""
    found = []
    for pid in _pids():
        one = init(pid)
        if one is not None and lab in (None, one.lab):
            found.append(one)
    return found


def init(pid: int) -> Init | None:
    """Whose process 1 a process is, if any."""
    argv = _argv(pid)
    if argv[-5:-3] != ["-m", "labkit.host"] or not _is_roots(pid):
        return None
    lab, directory, node = argv[-3:]
    return Init(pid, lab, Path(directory), node)


def same_namespace(pid: int, kind: str) -> list[Process]:
    """The processes that share a namespace (`pid`, `net`, ...) with process `pid`, by id."""
    ours = namespace(pid, kind)
    return [_process(other) for other in _pids() if ours and namespace(other, kind) == ours]


def namespace(pid: int, kind: str) -> str | None:
    """The identity of a process's namespace, as `net:[4026531840]`; None when it has ended."""
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except OSError:
        return None


def kill(targets: Iterable[Init], *, wait: float, meanwhile: Callable[[], None]) -> list[Init]:
    """Kill processes and wait, `wait` seconds at most, until all have ended; return those left.

    The end of a process 1 is the end of its whole PID namespace: the kernel sees to it, but waits
    for the parents of processes that were sent in from outside to reap them; `meanwhile` is called
    again and again so that they can.
    """
    waiting: dict[int, Init] = {}
    for target in targets:
        try:
            fd = os.pidfd_open(target.pid)
        except ProcessLookupError:
            continue
        waiting[fd] = target
        # Asked again now that the id cannot be handed to another process.
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
    """Whether a process is root's: what another user's says of itself is not to be believed."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid == 0
    except FileNotFoundError:
        return False


def _read(path: str) -> bytes:
    """The bytes of a file of /proc; none when the process has ended meanwhile."""
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
