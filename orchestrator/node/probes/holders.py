"""Which processes of this node hold a port, or a file that others wait for."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

from .. import sockets
from . import read

_MAX_PORTS = 4
_MAX_PATHS = 8
_MAX_HOLDERS = 8  # of one port or file
_TIME_WAIT = 6  # of the kernel's net/tcp_states.h: a socket without a process


def ports(numbers: List[int], root: str = "/") -> List[Dict[str, Any]]:
    """Return {"port", "holders": [...], "waiting": count} of each port, in the order of `numbers`.

    Holders are processes that listen on the port, or else have a connection from it; see `_holder`, which
    adds {"address", "listens"}. The pid of another user's process is only known to root. `waiting` is how
    many closed connections the kernel still keeps (TIME_WAIT).
    """
    wanted = list(dict.fromkeys(numbers))[:_MAX_PORTS]
    table = [each for each in sockets.table(root) if each.local[1] in wanted]
    owners = _owners(root, {each.link for each in table if each.inode})
    return [_port(root, number, table, owners) for number in wanted]


def _port(
    root: str, number: int, table: List[sockets.Connection], owners: Dict[str, int]
) -> Dict[str, Any]:
    own = [each for each in table if each.local[1] == number]
    live = [each for each in own if each.inode]
    listening = [each for each in live if each.state == sockets.LISTENING]
    holders = [
        dict(
            _holder(root, owners.get(each.link), each.uid),
            address=each.local[0],
            listens=bool(listening),
        )
        for each in (listening or live)[:_MAX_HOLDERS]
    ]
    waiting = sum(each.state == _TIME_WAIT for each in own)
    return {"port": number, "holders": holders, "waiting": waiting}


def files(paths: List[str], root: str = "/") -> List[Dict[str, Any]]:
    """Return {"path", "exists", "age", "holders": [...], "hidden"} of each file, in the order of `paths`.

    `age` is how many seconds ago it was changed, null if it is gone. Holders have it locked or open; see
    `_holder`, which adds {"locks": whether a lock of the kernel is held}. `hidden`: not all processes may
    be inspected, so there may be other holders.
    """
    wanted = [path for path in dict.fromkeys(paths) if os.path.isabs(path)][:_MAX_PATHS]
    locked = _locked(root)
    opened = _openers(root, {os.path.realpath(path) for path in wanted})
    return [_file(root, path, locked, opened) for path in wanted]


def _file(
    root: str, path: str, locked: Dict[Tuple[int, int], Set[int]], opened: Dict[str, Set[int]]
) -> Dict[str, Any]:
    try:
        status = os.stat(path)
    except OSError:
        return {"path": path, "exists": False, "age": None, "holders": [], "hidden": False}
    lockers = locked.get((status.st_dev, status.st_ino), set())
    pids = sorted(lockers) + sorted(opened.get(os.path.realpath(path), set()) - lockers)
    return {
        "path": path,
        "exists": True,
        "age": max(0.0, time.time() - status.st_mtime),
        "holders": [dict(_holder(root, pid), locks=pid in lockers) for pid in pids[:_MAX_HOLDERS]],
        "hidden": os.geteuid() != 0,
    }


def _holder(root: str, pid: Optional[int], uid: Optional[int] = None) -> Dict[str, Any]:
    """Return {"pid", "user", "command", "age", "run", "rank"} of a process.

    `age` is how many seconds it has run, `run` and `rank` are those of a process that orch started.
    """
    if pid is None:
        user = None if uid is None else read.user(uid)
        return {"pid": None, "user": user, "command": None, "age": None, "run": None, "rank": None}
    process = read.stat(root, pid)
    environment = read.environment(root, pid)
    return {
        "pid": pid,
        "user": read.owner(root, pid),
        "command": read.command(root, pid),
        "age": None if process is None else read.age(root, process.start),
        "run": environment.get("ORCH_RUN"),
        "rank": environment.get("RANK"),
    }


def _owners(root: str, links: Set[str]) -> Dict[str, int]:
    """Return the first process of each of these sockets."""
    found: Dict[str, int] = {}
    for pid, target in _descriptors(root) if links else ():
        if target in links:
            found.setdefault(target, pid)
    return found


def _openers(root: str, paths: Set[str]) -> Dict[str, Set[int]]:
    found: Dict[str, Set[int]] = {}
    for pid, target in _descriptors(root) if paths else ():
        if target in paths:
            found.setdefault(target, set()).add(pid)
    return found


def _descriptors(root: str) -> Iterator[Tuple[int, str]]:
    for pid in read.pids(root):
        if pid != os.getpid():
            for target in read.open_files(root, pid):
                yield pid, target


def _locked(root: str) -> Dict[Tuple[int, int], Set[int]]:
    """Return the processes that hold a lock, by the device and the inode of its file (/proc/locks)."""
    found: Dict[Tuple[int, int], Set[int]] = {}
    for line in read.lines(root, "/proc/locks"):
        words = line.split()  # "1: FLOCK  ADVISORY  WRITE 71 08:01:1835 0 EOF"; "1: ->" waits
        if len(words) < 8 or words[1] == "->" or not words[4].isdigit():
            continue
        try:
            major, minor, inode = words[5].split(":")
            device = os.makedev(int(major, 16), int(minor, 16))
            key = (device, int(inode))
        except (ValueError, OverflowError):
            continue
        found.setdefault(key, set()).add(int(words[4]))
    return found
