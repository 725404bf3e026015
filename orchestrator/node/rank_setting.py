"""What applied to a rank when it started: its limits, its control groups, and the clock of the node.

The process that starts a rank notes it, and what its control groups have counted since: it has the same
limits and groups as the rank, which may be gone when orch asks.
"""

from __future__ import annotations

import resource
import time
from typing import Any, Dict, List, Optional, Tuple

from .probes import groups
from .probes.limits import limit
from .probes.memory import OomCount

LIMITS = {
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "locked_memory": resource.RLIMIT_MEMLOCK,
    "address_space": resource.RLIMIT_AS,
    "data": resource.RLIMIT_DATA,
    "file_size": resource.RLIMIT_FSIZE,
    "stack": resource.RLIMIT_STACK,
}
"""getrlimit(2): the sizes are in bytes."""


class RankSetting:
    """Noted when it is created, by the process that starts the rank."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._oom_kills = OomCount(root)
        self._refused_before = groups.refused_forks(root)

    def at_start(self) -> Dict[str, Any]:
        """Return the fields for the record of a rank: {"limits", "groups", "clock"}.

        `limits` is {name: [soft, hard]}, null for no limit; `groups` are the control groups that limit its
        memory and its processes, {"memory": [mount point, path, version], "pids"}, null if unknown; `clock`
        is by how many seconds the wall clock is ahead of the time since boot.
        """
        limits: Dict[str, Tuple[Optional[int], Optional[int]]] = {
            name: limit(which) for name, which in LIMITS.items()
        }
        own: Dict[str, Optional[List[Any]]] = {}
        for controller in ("memory", "pids"):
            group = groups.own(self._root, controller)
            own[controller] = None if group is None else list(group)
        return {"limits": limits, "groups": own, "clock": clock_offset()}

    def at_end(self) -> Dict[str, Any]:
        """Return {"oom_kills", "refused_forks"}: how often that happened since; null without a count."""
        now, before = groups.refused_forks(self._root), self._refused_before
        return {
            "oom_kills": self._oom_kills.since(),
            "refused_forks": None if now is None or before is None else now - before,
        }


def clock_offset() -> float:
    """Return by how many seconds the wall clock is ahead of the time since boot."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
