"""A person's wish to stop a run, left in its folder for whoever minds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.runs.folder import read_json, write_json

_NAME = "stop.json"


@dataclass(frozen=True)
class Wish:
    """To stop, for `reason`, with `grace` seconds between SIGTERM and SIGKILL (None: the run's own)."""

    reason: str
    grace: float | None


def leave_wish(folder: Path, wish: Wish) -> None:
    """Leave `wish` in the folder of a run; a later one replaces it. Raises OSError."""
    write_json(folder / _NAME, {"reason": wish.reason, "grace": wish.grace})


def find_wish(folder: Path) -> Wish | None:
    """Return the wish that was left in the folder of a run."""
    said = read_json(folder / _NAME)
    try:
        grace = said["grace"]
        return Wish(str(said["reason"]), None if grace is None else float(grace))
    except (TypeError, KeyError, ValueError):
        return None
