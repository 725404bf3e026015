"""A request to stop a run, left in its folder for its controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import LaunchError
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import PEOPLE
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.disk_space import release_space, replace_json, reserve_space
from orchestrator.runs.folder import read_json
from orchestrator.runs.old_records import renewed_request

_NAME = "stop.json"
_RESERVED_BYTES = 1024  # a request is smaller
_POLL_INTERVAL = 0.2  # seconds


@dataclass(frozen=True)
class StopRequest:
    """A request to stop for `reason` (one of `PEOPLE`), with `grace` seconds between SIGTERM and SIGKILL.

    If `grace` is None, the run's own applies.
    """

    reason: StopReason
    grace: float | None


def request_stop(folder: Path, request: StopRequest) -> None:
    """Store `request` in the folder of a run, replacing an earlier one. Raises LaunchError."""
    try:
        replace_json(folder / _NAME, encode(request))
    except FileNotFoundError:  # pruned, so it has ended
        raise LaunchError(
            f"run {folder.name} was removed; there is nothing to stop",
            remedy="list the runs: orch runs",
        ) from None
    except OSError as error:
        raise LaunchError(
            f"the request to stop run {folder.name} cannot be written: {folder / _NAME}: {error.strerror}",
            remedy=f"free disk space there, then: orch stop {folder.name}",
        ) from None


def reserve_request_space(folder: Path) -> None:
    """Reserve space for a request in the folder of a run. Raises OSError."""
    reserve_space(folder / _NAME, _RESERVED_BYTES)


def release_request_space(folder: Path) -> None:
    """Release the space that is reserved for a request. Raises OSError."""
    release_space(folder / _NAME)


async def stop_requests(folder: Path) -> AsyncGenerator[StopRequest, None]:
    """Yield the request in the folder of a run once there is one, and each that replaces it."""
    last = None
    while True:
        request = find_stop_request(folder)
        if request is not None and request != last:
            yield (last := request)
        await asyncio.sleep(_POLL_INTERVAL)


def find_stop_request(folder: Path) -> StopRequest | None:
    """Return the request in the folder of a run, None if there is none."""
    try:
        request: StopRequest = decode(StopRequest, renewed_request(read_json(folder / _NAME)))
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    return request if request.reason in PEOPLE else replace(request, reason=StopReason.STOP_REQUEST)
