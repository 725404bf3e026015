"""How a run ended, in one word, and the exit codes that show who ended it."""

from __future__ import annotations

import signal
from typing import Literal

INTERRUPTED = 130
TIME_OUT = 124  # as in timeout(1)
_STOPPED = (TIME_OUT, INTERRUPTED, 128 + signal.SIGTERM, 128 + signal.SIGHUP)

State = Literal["starting", "running", "ended", "failed"]
"""The state of a run; `failed` means that it could not be started."""

Outcome = Literal["succeeded", "failed", "stopped", "lost"]
"""How a run ended: `stopped` by the user or its time limit; `lost` because a node was lost."""


def outcome_of(state: State, exit_code: int | None) -> Outcome | None:
    """Return the outcome of a run from its exit code, None if it has not ended."""
    if state not in ("ended", "failed"):
        return None
    if state == "ended" and exit_code == 0:
        return "succeeded"
    return "stopped" if exit_code in _STOPPED else "failed"
