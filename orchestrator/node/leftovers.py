"""Wait for what ranks leave running when all of them have exited with 0: an upload, say.

`status.json` has them as "behind", which is null for none:

    {"processes": [[PID, NAME], ...], "limit": SECONDS, "ended": BOOL}

NAME is the kernel's, of at most 15 bytes: command lines can hold secrets. "ended" tells that the limit was
reached, or the run stopped, and they were ended.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional, Set

_SETTLE = 1.0  # seconds in which what ends together with a rank is not worth a word
_LOOK_EVERY = 0.25
_MOST = 20  # processes that are named


class Leftovers:
    """What may go on for `limit` seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: Optional[float] = None  # monotonic
        self.told: Optional[Dict[str, Any]] = None
        """What `status.json` is to have."""

    def may_stay(self, pids: Set[int]) -> bool:
        """Tell whether to wait for `pids`, which are all that lives of the run."""
        if not pids or self._limit <= 0:
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        waited = now - self._since
        if waited >= min(_SETTLE, self._limit) and self.told is None:
            self._tell(pids, ended=False)
        return waited < self._limit

    def pause(self) -> float:
        """Return in how many seconds to look again."""
        return float("inf") if self._since is None else _LOOK_EVERY

    def note_end(self, pids: Set[int]) -> None:
        """Note that `pids` are ended now."""
        if pids:
            self._tell(pids, ended=True)

    def _tell(self, pids: Set[int], ended: bool) -> None:
        named: List[List[Any]] = [[pid, _name(pid)] for pid in sorted(pids)[:_MOST]]
        self.told = {"processes": named, "limit": self._limit, "ended": ended}


def _name(pid: int) -> str:
    try:
        with open("/proc/{:d}/comm".format(pid), "rb") as file:
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return "?"  # it has just ended
