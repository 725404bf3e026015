"""Which runs use this machine, and which wait for it: locks that end with those who hold them.

A run uses the machine from before its files are placed until its last process is gone: its agent has the
lock, and its supervisor inherits it. A run that waits has a place in the line, which its agent alone has.
Only runs of this user are seen; of several machines that share a home, each has a state of its own.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any, Dict, List, Optional, Tuple

from . import files
from .holds import Hold, Turn, held, hold, live_in, runs_in

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


class Place:
    """The use that one run makes of this machine, or its place in the line."""

    def __init__(self, run: str, node: str) -> None:
        self._folder = files.run_directory(run, node)  # raises ValueError for what is no name
        self._run, self._node = run, node
        self._state = os.path.join(
            files.state_root(), "machines", _UNFIT.sub("_", socket.gethostname())
        )
        self._hold: Optional[Hold] = None
        self._ticket: Optional[int] = None

    @property
    def descriptors(self) -> List[int]:
        """The lock that is to last as long as the run does."""
        return [] if self._hold is None else [self._hold.descriptor]

    def use(self) -> None:
        """Use the machine, whoever else does."""
        if self._hold is None:
            self._hold = Hold(self._state, self._run, self._node)

    def ask(self, since: Optional[float], claim: bool) -> Dict[str, Any]:
        """Use the machine, whoever else does; or stand in the line `since` (seconds since the epoch; the
        earliest is the first) and use it, with `claim`, if nobody does and nobody is before us.

        Returns {"taken": whether another run has this one's name here, and then nothing was done, "has":
        whether it uses the machine now, "users": [[run, seconds]] of the others, "ahead": [runs]}.
        """
        if self._hold is None and self._ticket is None and os.path.lexists(self._folder):
            return {"taken": True, "has": False, "users": [], "ahead": []}
        if since is None:
            self.use()
        else:
            self._stand_in_line(since)
            if not claim:
                self._let_go()  # what was claimed when another node could not be
            elif self._is_free(since):
                self._claim(since)
        return {
            "taken": False,
            "has": self._hold is not None,
            "users": self._users(),
            "ahead": [] if since is None else self._ahead(since),
        }

    def leave(self) -> None:
        """Neither use the machine nor wait for it any more."""
        self._let_go()
        if self._ticket is not None:
            os.close(self._ticket)
            self._ticket = None

    def _claim(self, since: float) -> None:
        """Use the machine if it is still free, as the only one who looks now."""
        turn = Turn(self._state)
        if turn.take(self._run) is not None:
            return  # asked again
        try:
            if self._is_free(since):
                self.use()
        finally:
            turn.give_up()

    def _is_free(self, since: float) -> bool:
        return not runs_in(self._state, self._run) and not self._ahead(since)

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def _users(self) -> List[Tuple[str, float]]:
        """Return the other runs that use the machine, and for how many seconds each has."""
        found: Dict[str, float] = {}
        for run, node in live_in(self._state, self._run):
            began = os.stat(os.path.join(self._state, "runs", "{}@{}".format(run, node))).st_mtime
            found[run] = max(found.get(run, 0.0), time.time() - began)
        return sorted(found.items())

    def _stand_in_line(self, since: float) -> None:
        if self._ticket is None:
            name = "{:020.6f}@{}@{}".format(since, self._run, self._node)
            self._ticket = hold(self._line(), name)

    def _ahead(self, since: float) -> List[str]:
        """Return the other runs that have stood in the line for longer, the first one first."""
        tickets = [name.split("@") for name in held(self._line())]
        before = [run for moment, run, _ in tickets if (float(moment), run) < (since, self._run)]
        return list(dict.fromkeys(run for run in before if run != self._run))

    def _line(self) -> str:
        return os.path.join(self._state, "line")
