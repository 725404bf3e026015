"""The file systems of the paths that a rank has used, looked at once it has failed.

A file server that is gone makes the process that asks for a file wait, perhaps forever: each path has a
thread of its own, and one that gets no answer says so.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import Any, Dict, List

from .mounts import Mount, mount_of, mounts
from .storage import why_not_writable

_TIMEOUT = 3.0  # seconds
_MAX_PATHS = 12
_MAX_MOUNTS = 64
_FULL_BELOW = 1 << 20  # bytes free
_PSEUDO = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs",
    "securityfs", "selinuxfs", "sysfs", "tracefs",
})  # fmt: skip
_ABSENT = (FileNotFoundError, NotADirectoryError)


def places(paths: List[str], full: bool = False, seconds: float = _TIMEOUT) -> List[Dict[str, Any]]:
    """Return what each of `paths` is on, in their order, within `seconds`.

    `~` is the home of the login; relative paths are left out. With `full`, all other mounts follow that
    can be written to and have no space left: what fails to write often does not say where.

    Each is {"path", "at", "mount", "kind", "source", "read_only", "size", "free", "files", "free_files",
    "problem", "silent"}. `at` is the nearest folder above `path` that exists, `kind` the type of its file
    system. Sizes are in bytes, `free` is what this user can write, `files` is 0 without a limit of files;
    they are null if the file system does not tell. `problem` is why a small file cannot be written there,
    or why the path cannot be read, as {"errno", "text"}, or null. `silent`: there was no answer in time.
    """
    known = mounts()
    expanded = map(os.path.expanduser, paths)
    wanted = [path for path in dict.fromkeys(expanded) if os.path.isabs(path)][:_MAX_PATHS]
    others = list(dict.fromkeys(filter(_may_fill, known)))[:_MAX_MOUNTS] if full else []
    points = [mount.point for mount in others if mount.point not in wanted]
    found = {path: _unanswered(path, known) for path in [*wanted, *points]}

    def look(path: str) -> None:
        found[path] = _place(path, known)

    threads = [threading.Thread(target=look, args=(path,), daemon=True) for path in found]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    answered = dict(found)  # a thread that is left behind may still write
    seen = {answered[path]["mount"] for path in wanted}
    return [answered[path] for path in wanted] + [
        answered[path]
        for path in points
        if _is_full(answered[path]) and answered[path]["mount"] not in seen
    ]


def _may_fill(mount: Mount) -> bool:
    return not mount.read_only and mount.kind not in _PSEUDO


def _is_full(place: Dict[str, Any]) -> bool:
    if not place["size"] or not os.access(place["at"], os.W_OK):
        return False
    lacks_files = place["files"] > 0 and place["free_files"] == 0
    return lacks_files or bool(place["free"] < min(_FULL_BELOW, place["size"] // 50))


def _unanswered(path: str, known: List[Mount]) -> Dict[str, Any]:
    place = _described(path, os.path.normpath(path), known)
    return dict(place, silent=True)


def _described(path: str, at: str, known: List[Mount]) -> Dict[str, Any]:
    mount = mount_of(at, known)
    return {
        "path": path,
        "at": at,
        "mount": "/" if mount is None else mount.point,
        "kind": "" if mount is None else mount.kind,
        "source": "" if mount is None else mount.source,
        "read_only": mount is not None and mount.read_only,
        "size": None, "free": None, "files": None, "free_files": None,
        "problem": None,
        "silent": False,
    }  # fmt: skip


def _place(path: str, known: List[Mount]) -> Dict[str, Any]:
    at = os.path.normpath(path)
    try:
        at = _nearest_folder(at)
        at = os.path.realpath(at)
        room = os.statvfs(at)
    except OSError as error:
        problem = {"errno": error.errno, "text": error.strerror or str(error)}
        return dict(_described(path, at, known), problem=problem)
    return dict(
        _described(path, at, known),
        size=room.f_blocks * room.f_frsize,
        free=room.f_bavail * room.f_frsize,
        files=room.f_files,
        free_files=room.f_favail,
        problem=why_not_writable(at),
    )


def _nearest_folder(path: str) -> str:
    """Return `path` or the nearest folder above it. Raises OSError, as for a stale file handle."""
    while True:
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                return path
        except _ABSENT:
            pass
        if path == "/":
            return path
        path = os.path.dirname(path)
