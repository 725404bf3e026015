"""How a run ended, in a word, and the exit codes that say who ended it."""

from __future__ import annotations

import signal
from typing import Literal

INTERRUPTED = 130
TIME_OUT = 124  # as timeout(1) has it
_STOPPED = (TIME_OUT, INTERRUPTED, 128 + signal.SIGTERM, 128 + signal.SIGHUP)

State = Literal["starting", "running", "ended", "failed"]
"""How far a run is; `failed` could not be started."""

Outcome = Literal["succeeded", "failed", "stopped", "lost"]
"""How a run ended, in a word: `stopped` by a person or its time limit; `lost` with one of its nodes."""


def outcome_of(state: State, exit_code: int | None) -> Outcome | None:
    """Return how a run ended of which only its exit code tells; None while it goes on."""
    if state not in ("ended", "failed"):
        return None
    if state == "ended" and exit_code == 0:
        return "succeeded"
    return "stopped" if exit_code in _STOPPED else "failed"
