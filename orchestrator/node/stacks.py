"""Where every process of a run is now: its Python stacks, what it has used, connections that are stuck."""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import faulthandler_dump, files, parse_dumps, processes, records, sockets
from .py_spy import find_spy, spy_on
from .stack_hook import stacks_path
from .tasks import Tell, deadline

_MOST = 1024  # processes of which there is an account
_ENOUGH = 2 << 20  # bytes of stacks; what comes after is left out
_LOCK_EVERY = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


class Member(NamedTuple):
    """A process of a rank, or of the launcher (`rank` None); `is_own` where it is the rank itself."""

    pid: int
    rank: Optional[int]
    is_own: bool
    base: str  # its log files are this and an ending


class _Stat(NamedTuple):
    """What is used here of /proc/PID/stat: `used` is CPU time in seconds, `start` ticks since boot."""

    parent: int
    name: str
    state: str
    used: float
    start: int


def stacks(tell: Tell, limit: float, run: str, node: str, brief: bool = False) -> None:
    """Tell {"at": seconds on a clock of this node, "processes": [...], "sockets": [...]}.

    Each process is {"pid", "rank" (None: the launcher), "own": whether it is the rank (the launcher)
    itself or else something below it, "name", "state": letter, "used": seconds of CPU, "main_used": those
    of its main thread, "moved": bytes that it has read and written, "by": "py-spy" | "signal" | None,
    "why": why there is no stack, or "", "threads": see `dumps.py`}. Sockets: see `sockets.py`.

    A `brief` one asks ranks and launchers only, and tells of their main threads only; of sockets, nothing.
    """
    until = deadline(limit)
    directory = files.run_directory(run, node)
    members = list(_members(directory))[:_MOST]
    lock = files.open_own(os.path.join(directory, "stacks.lock"), os.O_WRONLY)
    try:
        _take(lock, until)
        asked = [member for member in members if member.is_own or not brief]
        threads, by, why = _ask(asked, until)
    finally:
        os.close(lock)
    room = _ENOUGH
    told = []
    for member in sorted(members, key=lambda member: not member.is_own):
        stat = _read_stat(member.pid)
        if stat is None:
            continue
        kept = [t for t in threads.get(member.pid, ()) if t["main"] or not brief]
        size = len(json.dumps(kept))
        if size > room:
            kept, why[member.pid] = [], "left out: there are too many"
        else:
            room -= size
        told.append(
            {
                "pid": member.pid, "rank": member.rank, "own": member.is_own, "name": stat.name,
                "state": stat.state, "used": stat.used, "main_used": _main_used(member.pid),
                "moved": _moved(member.pid), "by": by.get(member.pid) if kept else None,
                "why": "" if kept else why.get(member.pid, ""), "threads": kept,
            }
        )  # fmt: skip
    ours = [] if brief else sockets.stuck(member.pid for member in members)
    tell({"at": time.monotonic(), "processes": told, "sockets": ours})


def _ask(
    members: List[Member], until: float
) -> Tuple[Dict[int, List[parse_dumps.Thread]], Dict[int, str], Dict[int, str]]:
    """Return the threads of the members that told theirs, who told it, and why others did not."""
    spy = find_spy()
    pythons = [
        member.pid
        for member in members
        if member.is_own or processes.executable(member.pid).startswith("python")
    ]
    found: Dict[int, List[parse_dumps.Thread]] = {}
    why: Dict[int, str] = {}
    if spy is not None:
        half = time.monotonic() + (until - time.monotonic()) / 2
        found, why = spy_on(spy, pythons, half)
    by = dict.fromkeys(found, "py-spy")
    candidates = []
    for member in members:
        stat = _read_stat(member.pid)
        if member.pid not in found and stat is not None:
            path = stacks_path(member.base)
            candidates.append(
                faulthandler_dump.Candidate(member.pid, stat.start, path, member.is_own)
            )
    more, failed = faulthandler_dump.ask(candidates, until)
    found.update(more)
    by.update(dict.fromkeys(more, "signal"))
    for pid, reason in failed.items():
        why[pid] = "{}; {}".format(why[pid], reason) if pid in why else reason
    return found, by, why


def _members(directory: str) -> Iterator[Member]:
    """Yield the live processes of the run in `directory`: launcher, ranks, and what is below the ranks."""
    status = records.read_status(directory) or {}
    supervisor = status.get("pid", 0)
    launcher = status.get("launcher")
    attempt = _last_attempt(directory, status.get("attempt") or 0)
    if attempt is None:
        return
    if (
        launcher is not None
        and launcher["ended"] is None
        and processes.is_of_run(launcher["pid"], directory, supervisor)
    ):
        yield Member(launcher["pid"], None, True, os.path.join(attempt, "launcher"))
    children: Dict[int, List[int]] = {}
    for name in os.listdir("/proc"):
        stat = _read_stat(int(name)) if name.isdigit() else None
        if stat is not None and stat.state not in "ZX":
            children.setdefault(stat.parent, []).append(int(name))
    for name in sorted(os.listdir(attempt)):
        record = _read_rank(os.path.join(attempt, name)) if files.RECORD.match(name) else None
        if record is None or record["ended"] is not None:
            continue
        if processes.is_of_run(record["pid"], directory, supervisor):
            base = os.path.join(attempt, name[: -len(".json")])
            yield from _family(record["pid"], record["rank"], base, children)


def _last_attempt(directory: str, first: int) -> Optional[str]:
    """Return the folder of the last attempt, from number `first` on, whose ranks have begun, else of the
    last.
    """
    paths = [
        os.path.join(directory, files.attempt_name(n)) for n in files.attempts(directory, first)
    ]
    folders = [path for path in paths if os.path.isdir(path)]
    begun = [folder for folder in folders if any(map(files.RECORD.match, os.listdir(folder)))]
    return begun[-1] if begun else folders[-1] if folders else None


def _read_rank(path: str) -> Optional[Dict[str, Any]]:
    try:
        return records.read_rank(path)
    except OSError:
        return None  # a script has made it unreadable


def _family(pid: int, rank: int, base: str, children: Dict[int, List[int]]) -> Iterator[Member]:
    """Yield a rank and all below it; with a script that starts its own ranks, those as ranks too.

    Of a program that runs one Python, such as a shell script, that Python is the rank.
    """
    working = processes.workers({pid})
    if len(working) == 1 and pid not in working:
        yield Member(pid, rank, False, base)
        pid = working.pop()
    local_rank = _local_rank(pid) or 0
    yield Member(pid, rank, True, base)
    frontier = []
    for child in children.get(pid, ()):
        other = _local_rank(child)
        is_rank = other is not None and other != local_rank
        number = rank + (other or 0) - local_rank if is_rank else rank
        frontier.append((child, number, is_rank))
    while frontier:
        child, number, is_rank = frontier.pop()
        yield Member(child, number, is_rank, base)
        frontier.extend((below, number, False) for below in children.get(child, ()))


def _local_rank(pid: int) -> Optional[int]:
    """Return the LOCAL_RANK that a process was started with."""
    try:
        with open("/proc/{:d}/environ".format(pid), "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(b"LOCAL_RANK=") and entry[11:].isdigit():
                    return int(entry[11:])
    except OSError:
        pass  # it ended, or is somebody else's
    return None


def _take(descriptor: int, until: float) -> None:
    """Be the only one who asks the run's processes. Raises TimeoutError."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise TimeoutError("somebody else asks for the stacks all the time") from None
            time.sleep(_LOCK_EVERY)


def _read_stat(pid: int, thread: Optional[int] = None) -> Optional[_Stat]:
    path = "/proc/{:d}/stat" if thread is None else "/proc/{:d}/task/{:d}/stat"
    try:
        with open(path.format(pid, thread), "rb") as file:
            said = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = said.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    return _Stat(
        parent=int(fields[1]),
        name=name.decode("utf-8", "replace"),
        state=fields[0].decode("ascii"),
        used=(int(fields[11]) + int(fields[12])) / _TICKS,
        start=int(fields[19]),
    )


def _main_used(pid: int) -> float:
    """Return the CPU time of the main thread, in seconds."""
    stat = _read_stat(pid, pid)
    return 0.0 if stat is None else stat.used


def _moved(pid: int) -> int:
    """Return the bytes that a process has read and written, by whatever way but a socket's own calls."""
    try:
        with open("/proc/{:d}/io".format(pid), encoding="ascii") as file:
            said = dict(line.split(": ") for line in file.read().splitlines())
        return int(said["rchar"]) + int(said["wchar"])
    except (OSError, KeyError, ValueError):
        return 0  # not ours to see
