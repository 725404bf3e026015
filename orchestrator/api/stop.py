"""The use case: stop a run from anywhere on this machine, and wait for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from orchestrator import events
from orchestrator.api.watch import watch
from orchestrator.errors import LaunchError
from orchestrator.node.reasons import StopReason
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.stop_request import StopRequest, request_stop

_END_TIMEOUT = 90.0  # seconds beyond the grace: to start a controller, connect, and stop all ranks


async def stop(saved: SavedRun, emit: events.Emit, *, grace: float | None = None) -> events.Ended:
    """Stop the run on all its nodes, with `grace` seconds for its ranks (None: the run's own), and return
    how it ended; it may have ended for another reason just before.

    `emit` gets the events meanwhile, without output. Raises LaunchError if the run does not end in time, or
    its controller is suspended; the run is then stopped once the controller continues.
    """
    if not saved.has_ended:
        request_stop(saved.folder, StopRequest(StopReason.STOP_REQUEST, grace))
        controller = saved.controller
        if controller is not None and controller.is_suspended:
            raise LaunchError(
                f"run {saved.run}: its controller, process {controller.pid}, is suspended (Ctrl-Z); "
                "the run stops once that continues",
                remedy=f"fg in its terminal, or: kill -CONT {controller.pid}",
            )
    seconds = (saved.settings.grace if grace is None else grace) + _END_TIMEOUT
    try:
        async with asyncio.timeout(seconds):
            async for event in watch(saved, lambda stream: False):
                emit(event)
                if isinstance(event, events.Ended):
                    return event
    except TimeoutError:
        pass
    raise LaunchError(
        f"run {saved.run} has not ended within {seconds:.0f} s",
        remedy=f"orch status {saved.run} shows which node has not ended",
    )


async def stop_all(
    runs: Sequence[SavedRun], emit_for: Callable[[str], events.Emit], *, grace: float | None = None
) -> list[LaunchError]:
    """Stop all runs at once, and return the errors; `emit_for` returns the receiver of a run's events."""
    results = await asyncio.gather(
        *(stop(saved, emit_for(saved.run), grace=grace) for saved in runs), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, LaunchError):
            raise result
    return [result for result in results if isinstance(result, LaunchError)]
