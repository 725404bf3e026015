"""How much is checked; it is by itself because every launch names it, and few import the checks."""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """How much is checked: `quick` before every launch, `full` on request."""

    QUICK = "quick"
    FULL = "full"
