"""A person's wish to stop a run, left in its folder for whoever minds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import LaunchError
from orchestrator.runs.folder import read_json, write_json
from orchestrator.runs.plain import parse, plain

_NAME = "stop.json"
_LOOK_EVERY = 0.2  # seconds


@dataclass(frozen=True)
class Wish:
    """To stop, for `reason`, with `grace` seconds between SIGTERM and SIGKILL (None: the run's own)."""

    reason: str
    grace: float | None


def leave_wish(folder: Path, wish: Wish) -> None:
    """Leave `wish` in the folder of a run; a later one replaces it. Raises LaunchError."""
    try:
        write_json(folder / _NAME, plain(wish))
    except FileNotFoundError:  # pruned, so it has ended
        raise LaunchError(
            f"run {folder.name} was removed; there is nothing to stop",
            remedy="orch runs shows those that there are",
        ) from None
    except OSError as error:
        raise LaunchError(
            f"run {folder.name} cannot be told to stop: {folder / _NAME}: {error.strerror}",
            remedy="make room there, and try again",
        ) from None


async def wait_for_wish(folder: Path) -> Wish:
    """Return the wish that is left in the folder of a run, once there is one."""
    while (wish := find_wish(folder)) is None:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_EVERY)
    return wish


def find_wish(folder: Path) -> Wish | None:
    """Return the wish that was left in the folder of a run, None when there is none."""
    try:
        wish: Wish = parse(Wish, read_json(folder / _NAME))
    except ValueError:
        return None
    return wish
