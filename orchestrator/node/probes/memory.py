"""Memory: of the machine, of the control group of this login (cgroups(7)), and kills for lack of it."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional

from . import groups, read

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
        "group": tightest(root, groups.own(root, "memory")),
    }


def tightest(root: str, group: Optional[groups.Group]) -> Any:
    """Return the group with the lowest limit of `group` and those that it is in, as `memory` does."""
    if group is None or not os.path.isdir(read.below(root, group.mount)):
        return "hidden"
    all_ = [_limited(root, folder, group) for folder in group.folders]
    return min((found for found in all_ if found), key=lambda found: found["limit"], default=None)


def _limited(root: str, folder: str, group: groups.Group) -> Optional[Dict[str, Any]]:
    names = ("memory.max", "memory.current") if group.version == 2 else (
        "memory.limit_in_bytes", "memory.usage_in_bytes",
    )  # fmt: skip
    limit, used = (read.text(root, os.path.join(folder, name)) or "" for name in names)
    if not limit.isdigit() or int(limit) >= _UNLIMITED or not used.isdigit():
        return None
    stat = read.counts(root, os.path.join(folder, "memory.stat"))
    cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))  # version 1 has both
    path = folder[len(group.mount) :] or "/"
    return {"path": path, "limit": int(limit), "used": max(0, int(used) - cache)}


def oom_kills(root: str = "/") -> Optional[int]:
    """Return the group's count of kills by any out-of-memory killer; None if the kernel has no count.

    It is `oom_kill` in memory.events of version 2, in memory.oom_control of version 1 (Linux 4.13).
    """
    group = groups.own(root, "memory")
    return None if group is None else read.counts(root, oom_counter(group)).get("oom_kill")


def oom_counter(group: groups.Group) -> str:
    """Return the file in which the kernel counts its kills in the group."""
    name = "memory.events" if group.version == 2 else "memory.oom_control"
    return os.path.join(group.mount + group.path, name)


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
