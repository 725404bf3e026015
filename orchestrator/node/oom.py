"""How many processes the kernel has killed for lack of memory, in this process's control group."""

from __future__ import annotations

import os
from typing import Optional

from .probes import memory, read


def kills(root: str = "/") -> Optional[int]:
    """Return the group's count of kills by any out-of-memory killer; None if the kernel has no count.

    It is `oom_kill` in memory.events of version 2, in memory.oom_control of version 1 (Linux 4.13).
    """
    group = memory.control_group(root)
    if group is None:
        return None
    mount, path, version = group
    name = "memory.events" if version == 2 else "memory.oom_control"
    return read.counts(root, os.path.join(mount + path, name)).get("oom_kill")


class Count:
    """Counts the kills in this process's group from its creation on.

    A process that was moved to another group since then is counted there, and not here.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._before = kills(root)

    def since(self) -> Optional[int]:
        """Return how many there were; None if the kernel has no count."""
        now = kills(self._root)
        return None if now is None or self._before is None else now - self._before
