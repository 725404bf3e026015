"""The use case: show an active run as if it had been launched here, and stop it."""

from __future__ import annotations

import asyncio

from orchestrator import events
from orchestrator.api.watch import watch
from orchestrator.control.interrupts import Interrupts, first_done
from orchestrator.logs.selection import RankSet, Selection
from orchestrator.node.reasons import StopReason
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.stop_request import StopRequest, request_stop


async def attach(
    saved: SavedRun,
    emit: events.Emit,
    interrupts: Interrupts,
    *,
    ranks: RankSet | None = None,
    tail: int | None = None,
) -> int | None:
    """Show the run until it has ended and return its exit code, or None if the user left it earlier.

    The first interrupt stops the run, the second kills it, the third stops waiting for its end. Only
    output of `ranks` is shown (None: all), and only the last `tail` past lines (None: all). Raises
    LaunchError if the run cannot be controlled.
    """
    interrupts.has_started = True
    showing, stopping, abandoning, _ = await first_done(
        _show(saved, emit, Selection(ranks=ranks), tail),
        _stop_on_interrupt(saved, interrupts),
        interrupts.wait(3),
        interrupts.wait_for_detach(),
    )
    if (shown := showing or stopping) is not None:
        code: int = shown.result()
        return code
    if abandoning is not None:
        return 128 + (interrupts.signal or 0)
    emit(events.Detached(saved.run, interrupts.detach_reason or ""))
    return None


async def _show(saved: SavedRun, emit: events.Emit, selection: Selection, tail: int | None) -> int:
    code = 0
    async for event in watch(saved, selection.__contains__, last=tail):
        emit(event)
        if isinstance(event, events.Planned) and not saved.has_ended:
            emit(events.Started(saved.run, saved.folder))
        if isinstance(event, events.Ended):
            code = event.exit_code
    return code


async def _stop_on_interrupt(saved: SavedRun, interrupts: Interrupts) -> int:
    """Leave a stop request for each interrupt; does not return. Raises LaunchError if it cannot."""
    await interrupts.wait(1)
    request_stop(saved.folder, StopRequest(interrupts.reason, None))
    await interrupts.wait(2)
    request_stop(saved.folder, StopRequest(StopReason.INTERRUPT_TWICE, 0.0))
    await asyncio.Event().wait()
    raise AssertionError("unreachable")
