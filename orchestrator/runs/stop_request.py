"""A person's request to stop a run, left in its folder for its controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import LaunchError
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import PEOPLE
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.disk_room import release_room, replace_json, set_room_aside
from orchestrator.runs.folder import read_json
from orchestrator.runs.old_records import renewed_request

_NAME = "stop.json"
_RESERVE = 1024  # bytes: more than a request has
_LOOK_EVERY = 0.2  # seconds


@dataclass(frozen=True)
class StopRequest:
    """To stop, for `reason` (one of `PEOPLE`), with `grace` seconds between SIGTERM and SIGKILL.

    A `grace` of None is the run's own.
    """

    reason: StopReason
    grace: float | None


def request_stop(folder: Path, request: StopRequest) -> None:
    """Leave `request` in the folder of a run; a later one replaces it. Raises LaunchError."""
    try:
        replace_json(folder / _NAME, encode(request))
    except FileNotFoundError:  # pruned, so it has ended
        raise LaunchError(
            f"run {folder.name} was removed; there is nothing to stop",
            remedy="orch runs shows those that there are",
        ) from None
    except OSError as error:
        raise LaunchError(
            f"run {folder.name} cannot be told to stop: {folder / _NAME}: {error.strerror}",
            remedy=f"make room there, and try again: orch stop {folder.name}",
        ) from None


def reserve_room_for_request(folder: Path) -> None:
    """Have room for a request in the folder of a run, also once the disk is full. Raises OSError."""
    set_room_aside(folder / _NAME, _RESERVE)


def release_room_for_request(folder: Path) -> None:
    """Give back that room: nobody requests anything any more. Raises OSError."""
    release_room(folder / _NAME)


async def stop_requests(folder: Path) -> AsyncGenerator[StopRequest, None]:
    """Yield the request that is in the folder of a run once there is one, and each that replaces it."""
    last = None
    while True:
        request = find_stop_request(folder)
        if request is not None and request != last:
            yield (last := request)
        await asyncio.sleep(_LOOK_EVERY)


def find_stop_request(folder: Path) -> StopRequest | None:
    """Return the request that was left in the folder of a run, None when there is none."""
    try:
        request: StopRequest = decode(StopRequest, renewed_request(read_json(folder / _NAME)))
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    return request if request.reason in PEOPLE else replace(request, reason=StopReason.STOP_REQUEST)
