"""Memory: of the machine, of the control group of this login (cgroups(7)), and kills for lack of it."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional, Tuple

from . import read

_UNLIMITED = 1 << 60  # version 1 has a number close to 2^63 for "no limit"


def memory(root: str = "/") -> Dict[str, Any]:
    """Return {"total", "available", "group"}, in bytes, null if /proc does not show it.

    `group` is the tightest of the control groups that this process is in, {"path", "limit", "used"} (`used`
    without what the kernel would reclaim), null if none has a limit, or "hidden" if they are not visible.
    """
    info = {name: count * 1024 for name, count in read.counts(root, "/proc/meminfo").items()}
    return {
        "total": info.get("MemTotal"),
        "available": info.get("MemAvailable"),
        "group": _tightest(root),
    }


def _tightest(root: str) -> Any:
    group = control_group(root)
    if group is None or not os.path.isdir(read.below(root, group[0])):
        return "hidden"
    mount, path, version = group
    paths = [path]
    while paths[-1] not in ("/", ""):
        paths.append(os.path.dirname(paths[-1]))
    groups = [found for found in (_group(root, mount, each, version) for each in paths) if found]
    return min(groups, key=lambda found: found["limit"], default=None)


def _group(root: str, mount: str, path: str, version: int) -> Optional[Dict[str, Any]]:
    folder = mount + path
    names = ("memory.max", "memory.current") if version == 2 else (
        "memory.limit_in_bytes", "memory.usage_in_bytes",
    )  # fmt: skip
    limit, used = (read.text(root, os.path.join(folder, name)) or "" for name in names)
    if not limit.isdigit() or int(limit) >= _UNLIMITED or not used.isdigit():
        return None
    stat = read.counts(root, os.path.join(folder, "memory.stat"))
    cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))  # version 1 has both
    return {"path": path, "limit": int(limit), "used": max(0, int(used) - cache)}


def control_group(root: str) -> Optional[Tuple[str, str, int]]:
    """Return the mount point, the path below it, and the version, of the group that limits memory here."""
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
    for line in read.lines(root, "/proc/self/cgroup"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if version == 1 and "memory" in controllers.split(","):
            return path
        if version == 2 and number == "0" and not controllers:
            return path
    return None


def _mount(root: str, version: int) -> Optional[Tuple[str, str]]:
    """Return (mount point, the group that it shows)."""
    for line in read.lines(root, "/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, more = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(more) < 3:
            continue
        if version == 2 and more[0] == "cgroup2":
            return fields[4], fields[3]
        if version == 1 and more[0] == "cgroup" and "memory" in more[2].split(","):
            return fields[4], fields[3]
    return None


def oom_kills(root: str = "/") -> Optional[int]:
    """Return the group's count of kills by any out-of-memory killer; None if the kernel has no count.

    It is `oom_kill` in memory.events of version 2, in memory.oom_control of version 1 (Linux 4.13).
    """
    group = control_group(root)
    if group is None:
        return None
    mount, path, version = group
    name = "memory.events" if version == 2 else "memory.oom_control"
    return read.counts(root, os.path.join(mount + path, name)).get("oom_kill")


class OomCount:
    """Counts the kills in this process's group from its creation on.

    A process that was moved to another group since then is counted there, and not here.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._before = oom_kills(root)

    def since(self) -> Optional[int]:
        """Return how many there were; None if the kernel has no count."""
        now = oom_kills(self._root)
        return None if now is None or self._before is None else now - self._before
