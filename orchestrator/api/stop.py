"""The use case: stop a run from anywhere on this machine, and see it end."""

from __future__ import annotations

import asyncio

from orchestrator import events
from orchestrator.api.watch import watch
from orchestrator.errors import LaunchError
from orchestrator.node.reasons import StopReason
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.stop_request import StopRequest, request_stop

_END_TIMEOUT = 90.0  # seconds beyond the grace: to start a controller, connect, and see the end


async def stop(saved: SavedRun, emit: events.Emit, *, grace: float | None = None) -> events.Ended:
    """Stop the run on all its nodes, with `grace` seconds for its ranks (None: its own), and return how
    it ended; that may be another way, just before.

    `emit` hears what happens meanwhile, its output left out. Raises LaunchError when its end is not seen
    in time, or its controller is suspended: then it is stopped later.
    """
    if not saved.has_ended:
        request_stop(saved.folder, StopRequest(StopReason.STOP_REQUEST, grace))
        controller = saved.controller
        if controller is not None and controller.is_suspended:
            raise LaunchError(
                f"run {saved.run} is stopped once process {controller.pid}, which minds it, goes on: "
                "it was suspended (Ctrl-Z)",
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
        remedy=f"orch status {saved.run} shows which node is waited for",
    )
