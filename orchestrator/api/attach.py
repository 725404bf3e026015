"""The use case: see a run that goes on as if it had been launched here, and stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator import events
from orchestrator.api.watch import watch
from orchestrator.control.interrupts import Interrupts
from orchestrator.logs.stream import Stream
from orchestrator.node.reasons import StopReason
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.stop_request import StopRequest, request_stop


async def attach(
    saved: SavedRun,
    emit: events.Emit,
    interrupts: Interrupts,
    *,
    want: Callable[[Stream], bool] = lambda stream: True,
    last: int | None = None,
) -> int | None:
    """Show the run until it has ended and return its exit code, or None when we leave it.

    The first interrupt stops the run, the second kills it, after the third we do not wait for its end
    any more. Of its output, the streams that `want` accepts are shown; `last` is how many lines of what is
    past (None: all). Raises LaunchError when the run cannot be controlled.
    """
    interrupts.has_started = True
    showing = asyncio.create_task(_show(saved, emit, want, last))
    stopping = asyncio.create_task(_stop_when_interrupted(saved, interrupts))
    leaving = asyncio.create_task(interrupts.wait_for_leave())
    giving_up = asyncio.create_task(interrupts.wait(3))
    tasks = (showing, stopping, leaving, giving_up)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in (showing, stopping):
        if not task.cancelled():
            return task.result()
    if not giving_up.cancelled():
        return 128 + (interrupts.signal or 0)
    emit(events.Detached(saved.run, interrupts.leaving or ""))
    return None


async def _show(
    saved: SavedRun, emit: events.Emit, want: Callable[[Stream], bool], last: int | None
) -> int:
    code = 0
    async for event in watch(saved, want, last=last):
        emit(event)
        if isinstance(event, events.Ended):
            code = event.exit_code
    return code


async def _stop_when_interrupted(saved: SavedRun, interrupts: Interrupts) -> int:
    """Leave a stop request for each interrupt; does not return. Raises LaunchError when it cannot."""
    await interrupts.wait(1)
    request_stop(saved.folder, StopRequest(interrupts.reason, None))
    await interrupts.wait(2)
    request_stop(saved.folder, StopRequest(StopReason.INTERRUPT_TWICE, 0.0))
    await asyncio.Event().wait()
    raise AssertionError("unreachable")
