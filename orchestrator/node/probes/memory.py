"""Memory: what the machine has left, and what the control group of this login allows (cgroups(7))."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator, Optional, Tuple

from . import read

_UNLIMITED = 1 << 60  # version 1 says "no limit" with a number close to 2^63


def memory(root: str = "/") -> Dict[str, Any]:
    """Return {"total", "available", "group"}, in bytes, null where /proc does not tell.

    `group` is the tightest of the control groups that this process is in, {"path", "limit", "used"} (`used`
    without what the kernel would give back), null where none has a limit, or "hidden" where they
    cannot be seen.
    """
    info = dict(_meminfo(root))
    return {
        "total": info.get("MemTotal"),
        "available": info.get("MemAvailable"),
        "group": _tightest(root),
    }


def _meminfo(root: str) -> Iterator[Tuple[str, int]]:
    for line in (read.text(root, "/proc/meminfo") or "").split("\n"):
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            yield name, int(words[0]) * 1024


def _tightest(root: str) -> Any:
    governing = place(root)
    if governing is None:
        return "hidden"
    mount, path, version = governing
    best: Optional[Dict[str, Any]] = None
    if not os.path.isdir(read.below(root, mount)):
        return "hidden"
    while True:
        found = _group(root, mount, path, version)
        if found is not None and (best is None or found["limit"] < best["limit"]):
            best = found
        if path == "/":
            return best
        path = os.path.dirname(path)


def _group(root: str, mount: str, path: str, version: int) -> Optional[Dict[str, Any]]:
    folder = mount + path
    names = ("memory.max", "memory.current") if version == 2 else (
        "memory.limit_in_bytes", "memory.usage_in_bytes",
    )  # fmt: skip
    limit, used = (read.text(root, os.path.join(folder, name)) or "" for name in names)
    if not limit.isdigit() or int(limit) >= _UNLIMITED or not used.isdigit():
        return None
    cache = 0
    for line in (read.text(root, os.path.join(folder, "memory.stat")) or "").split("\n"):
        words = line.split()
        if len(words) == 2 and words[0] in ("inactive_file", "total_inactive_file"):
            cache = int(words[1])  # version 1 has both, the total last
    return {"path": path, "limit": int(limit), "used": max(0, int(used) - cache)}


def place(root: str) -> Optional[Tuple[str, str, int]]:
    """Return the mount point, the path below it, and the version, of what governs memory here."""
    for version in (1, 2):
        path = _own_path(root, version)
        mount = _mount(root, version)
        if path is None or mount is None:
            continue
        point, top = mount
        # In a container without a namespace of its own, the mount shows a part of the whole tree.
        if top != "/" and (path + "/").startswith(top + "/"):
            path = path[len(top) :] or "/"
        if ".." in path.split("/") or not os.path.isdir(read.below(root, point + path)):
            path = "/"
        return point, path, version
    return None


def _own_path(root: str, version: int) -> Optional[str]:
    for line in (read.text(root, "/proc/self/cgroup") or "").split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if version == 1 and "memory" in controllers.split(","):
            return path
        if version == 2 and number == "0" and not controllers:
            return path
    return None


def _mount(root: str, version: int) -> Optional[Tuple[str, str]]:
    """Return (mount point, the group that is shown there)."""
    for line in (read.text(root, "/proc/self/mountinfo") or "").split("\n"):
        left, _, right = line.partition(" - ")
        fields, more = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(more) < 3:
            continue
        if version == 2 and more[0] == "cgroup2":
            return fields[4], fields[3]
        if version == 1 and more[0] == "cgroup" and "memory" in more[2].split(","):
            return fields[4], fields[3]
    return None
