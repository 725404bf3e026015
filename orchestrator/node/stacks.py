"""The state of every process of a run: Python stacks, CPU time and I/O, and connections that are stuck."""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import faulthandler_dump, files, parse_dumps, processes, records, sockets
from .probes import read
from .py_spy import find_spy, spy_on
from .stack_hook import stacks_path
from .tasks import deadline

_MAX_PROCESSES = 1024
_MAX_STACK_BYTES = 2 << 20  # of all processes; further stacks are left out
_LOCK_INTERVAL = 0.02


class Member(NamedTuple):
    """A process of a rank, or of the launcher (`rank` None); `is_own` if it is the rank itself."""

    pid: int
    rank: Optional[int]
    is_own: bool
    base: str  # the path of its log files without their ending


def stacks(limit: float, run: str, node: str, brief: bool = False) -> Dict[str, Any]:
    """Return {"at": seconds on a clock of this node, "processes": [...], "sockets": [...]}.

    Each process is {"pid", "rank" (None: the launcher), "own": whether it is the rank (the launcher)
    itself or else something below it, "name", "state": letter, "used": seconds of CPU, "main_used": those
    of its main thread, "moved": bytes that it has read and written, other than by a socket's own calls,
    "by": "py-spy" | "signal" | None, "why": why there is no stack, or "", "threads": see `parse_dumps.py`}.
    Sockets: see `sockets.py`.

    A `brief` one asks ranks and launchers only, and reports their main threads only, and no sockets.
    """
    until = deadline(limit)
    directory = files.run_directory(run, node)
    members = list(_members(directory))[:_MAX_PROCESSES]
    lock = files.open_own(os.path.join(directory, "stacks.lock"), os.O_WRONLY)
    try:
        _lock(lock, until)
        asked = [member for member in members if member.is_own or not brief]
        threads, by, why = _ask(asked, until)
    finally:
        os.close(lock)
    room = _MAX_STACK_BYTES
    reports = []
    for member in sorted(members, key=lambda member: not member.is_own):
        pid = member.pid
        stat, main = read.stat("/", pid), read.stat("/", pid, pid)
        if stat is None:
            continue
        kept = [t for t in threads.get(pid, ()) if t["main"] or not brief]
        size = len(json.dumps(kept))
        if size > room:
            kept, why[pid] = [], "left out: there are too many"
        else:
            room -= size
        io = read.counts("/", "/proc/{:d}/io".format(pid))
        reports.append(
            {
                "pid": pid, "rank": member.rank, "own": member.is_own, "name": stat.name,
                "state": stat.state, "used": stat.cpu, "main_used": main.cpu if main else 0.0,
                "moved": io.get("rchar", 0) + io.get("wchar", 0), "by": by.get(pid) if kept else None,
                "why": "" if kept else why.get(pid, ""), "threads": kept,
            }
        )  # fmt: skip
    connections = [] if brief else sockets.stuck(member.pid for member in members)
    return {"at": time.monotonic(), "processes": reports, "sockets": connections}


def _ask(
    members: List[Member], until: float
) -> Tuple[Dict[int, List[parse_dumps.Thread]], Dict[int, str], Dict[int, str]]:
    """Return the threads by pid, how they were obtained, and why there are none of the others."""
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
    stats = {member: read.stat("/", member.pid) for member in members if member.pid not in found}
    candidates = [
        faulthandler_dump.Candidate(pid, stat.start, stacks_path(base), is_own)
        for (pid, _, is_own, base), stat in stats.items()
        if stat is not None
    ]
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
    pid = launcher["pid"] if launcher and launcher["ended"] is None else None
    if pid is not None and processes.is_of_run(pid, directory, supervisor):
        yield Member(pid, None, True, os.path.join(attempt, "launcher"))
    children = processes.children_of(processes.all_live())
    for name in filter(files.RECORD.match, sorted(os.listdir(attempt))):
        record = records.try_read(records.read_rank, os.path.join(attempt, name))
        if record is None or record["ended"] is not None:
            continue
        if processes.is_of_run(record["pid"], directory, supervisor):
            base = os.path.join(attempt, name[: -len(".json")])
            yield from _family(record["pid"], record["rank"], base, children)


def _last_attempt(directory: str, first: int) -> Optional[str]:
    """Return the folder of the last attempt from `first` on with ranks that have begun, else the last."""
    paths = [files.attempt_folder(directory, number) for number in files.attempts(directory, first)]
    folders = [path for path in paths if os.path.isdir(path)]
    begun = [folder for folder in folders if any(map(files.RECORD.match, os.listdir(folder)))]
    return next(reversed(begun or folders), None)


def _family(pid: int, rank: int, base: str, children: Dict[int, List[int]]) -> Iterator[Member]:
    """Yield a rank and all below it; if a script starts ranks of its own, those as ranks too.

    If a program, such as a shell script, runs one Python, that Python is the rank.
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
    for entry in processes.environment(pid):
        if entry.startswith(b"LOCAL_RANK=") and entry[11:].isdigit():
            return int(entry[11:])
    return None


def _lock(descriptor: int, until: float) -> None:
    """Become the only one that asks the run's processes. Raises TimeoutError."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise TimeoutError("other processes keep asking for the stacks") from None
            time.sleep(_LOCK_INTERVAL)
