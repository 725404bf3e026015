"""The use case: stop a run from anywhere on this machine, and see it end."""

from __future__ import annotations

import asyncio

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.runs.saved import Saved
from orchestrator.runs.watch import watch
from orchestrator.runs.wishes import Wish, leave_wish

_PATIENCE = 90.0  # seconds beyond the grace: for a keeper to come to its nodes, and for them to end


async def stop(saved: Saved, emit: events.Emit, *, grace: float | None = None) -> events.Ended:
    """Stop the run on all its nodes, with `grace` seconds for its ranks (None: its own), and return how
    it ended; that may be another way, just before.

    `emit` hears what happens meanwhile, its output left out. Raises LaunchError when its end is not seen
    in time, or who minds it is suspended: then it is stopped later.
    """
    if not saved.has_ended:
        leave_wish(saved.folder, Wish("orch stop", grace))
        controller = saved.controller
        if controller is not None and controller.is_suspended:
            raise LaunchError(
                f"run {saved.run} is stopped once process {controller.pid}, which minds it, goes on: "
                "it was suspended (Ctrl-Z)",
                remedy=f"fg in its terminal, or: kill -CONT {controller.pid}",
            )
    seconds = (saved.settings.grace if grace is None else grace) + _PATIENCE
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
