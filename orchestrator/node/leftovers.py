"""Wait for what ranks leave running after all of them have exited with 0, such as an upload.

`status.json` has them as "behind", which is null for none:

    {"processes": [[PID, NAME], ...], "limit": SECONDS, "ended": BOOL}

NAME is the kernel's, of at most 15 bytes: command lines can hold secrets. "ended" is whether the processes
were ended, because the limit was reached or the run was stopped.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional, Set

from .probes import read

_SETTLE_TIME = 1.0  # seconds: a process that ends this soon after its rank is not reported
_POLL_INTERVAL = 0.25
_MAX_NAMED = 20  # processes


class Leftovers:
    """The processes that may keep running for `limit` seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: Optional[float] = None  # monotonic
        self.report: Optional[Dict[str, Any]] = None
        """The value of "behind" in `status.json`."""

    def may_stay(self, pids: Set[int]) -> bool:
        """Return whether to wait for `pids`, which are all that lives of the run."""
        if not pids or self._limit <= 0:
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        waited = now - self._since
        if waited >= min(_SETTLE_TIME, self._limit) and self.report is None:
            self.note(pids, ended=False)
        return waited < self._limit

    def pause(self) -> float:
        """Return in how many seconds to check again."""
        return float("inf") if self._since is None else _POLL_INTERVAL

    def note(self, pids: Set[int], ended: bool) -> None:
        """Set the report to `pids`; `ended` is whether they are being ended."""
        named: List[List[Any]] = [
            [pid, read.text("/", "/proc/{:d}/comm".format(pid)) or "?"]
            for pid in sorted(pids)[:_MAX_NAMED]
        ]
        self.report = {"processes": named, "limit": self._limit, "ended": ended}
