"""How many processes the kernel has killed for lack of memory, in this process's control group."""

from __future__ import annotations

import os
from typing import Optional

from .probes import memory, read


def kills(root: str = "/") -> Optional[int]:
    """Return the group's count of kills by any out-of-memory killer; None where it is not told.

    It is `oom_kill` in memory.events of version 2, in memory.oom_control of version 1 (Linux 4.13).
    """
    place = memory.place(root)
    if place is None:
        return None
    mount, path, version = place
    name = "memory.events" if version == 2 else "memory.oom_control"
    for line in (read.text(root, os.path.join(mount + path, name)) or "").split("\n"):
        words = line.split()
        if len(words) == 2 and words[0] == "oom_kill" and words[1].isdigit():
            return int(words[1])
    return None


class Count:
    """Counts the kills in this process's group from now on.

    A process that was moved to another group after it began is counted there, which nobody sees.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._before = kills(root)

    def since(self) -> Optional[int]:
        """Return how many there were; None where the kernel does not tell."""
        now = kills(self._root)
        return None if now is None or self._before is None else now - self._before
