"""Which runs use this machine, and which wait for it: locks that end with their holders.

A run uses the machine from before its files are placed until its last process is gone: its agent has the
lock, and its supervisor inherits it. A run that waits has a place in the queue, which only its agent has.
Only runs of this user count; machines that share a home have a state each.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any, Dict, List, Optional, Tuple

from . import files
from .holds import Hold, Turn, held, live_in, runs_in

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


class Place:
    """The use that one run makes of this machine, or its place in the queue."""

    def __init__(self, run: str, node: str) -> None:
        self._folder = files.run_directory(run, node)  # raises ValueError for an invalid name
        self._run, self._node = run, node
        host = _UNFIT.sub("_", socket.gethostname())
        self._state = os.path.join(files.state_root(), "machines", host)
        self._queue = os.path.join(self._state, "line")
        self.hold = Hold()
        self._ticket = Hold()

    def use(self) -> None:
        """Use the machine, even if others do."""
        self.hold.take(self._state, self._run, self._node)

    def ask(self, since: Optional[float], claim: bool) -> Dict[str, Any]:
        """Use the machine, even if others do; or queue `since` (seconds since the epoch; the earliest is
        the first) and use it, with `claim`, if no other run does and none is ahead.

        Returns {"taken": whether another run has this one's name here, and then nothing was done, "has":
        whether it uses the machine now, "users": [[run, seconds]] of the others, "ahead": [runs]}.
        """
        is_known = self.hold.descriptors or self._ticket.descriptors
        if not is_known and os.path.lexists(self._folder):
            return {"taken": True, "has": False, "users": [], "ahead": []}
        if since is None:
            self.use()
        else:
            ticket = "{:020.6f}@{}@{}".format(since, self._run, self._node)
            self._ticket.take_file(self._queue, ticket)
            if not claim:
                self.hold.release()  # it was claimed when another node could not be
            elif self._is_free(since):
                self._claim(since)
        return {
            "taken": False,
            "has": bool(self.hold.descriptors),
            "users": self._users(),
            "ahead": [] if since is None else self._ahead(since),
        }

    def leave(self) -> None:
        """Stop using the machine or waiting for it."""
        self.hold.release()
        self._ticket.release()

    def _claim(self, since: float) -> None:
        """Use the machine if it is still free, while no other process may claim it."""
        turn = Turn()
        if turn.take(self._state, self._run) is not None:
            return  # the controller asks again
        try:
            if self._is_free(since):
                self.use()
        finally:
            turn.give_up()

    def _is_free(self, since: float) -> bool:
        return not runs_in(self._state, self._run) and not self._ahead(since)

    def _users(self) -> List[Tuple[str, float]]:
        """Return the other runs that use the machine, and for how many seconds each has."""
        found: Dict[str, float] = {}
        for run, node in live_in(self._state, self._run):
            began = os.stat(os.path.join(self._state, "runs", "{}@{}".format(run, node))).st_mtime
            found[run] = max(found.get(run, 0.0), time.time() - began)
        return sorted(found.items())

    def _ahead(self, since: float) -> List[str]:
        """Return the other runs that have queued for longer, the first one first."""
        tickets = [name.split("@") for name in held(self._queue)]
        before = [run for queued, run, _ in tickets if (float(queued), run) < (since, self._run)]
        return list(dict.fromkeys(run for run in before if run != self._run))
