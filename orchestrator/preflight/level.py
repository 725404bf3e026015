"""How much is checked; a module of its own, since every launch needs it and few import the checks."""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """How much is checked: `quick` before every launch, `full` on request."""

    QUICK = "quick"
    FULL = "full"
