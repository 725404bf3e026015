"""Turn the signals of this process into interrupts of a use case."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from orchestrator.control.interrupts import Interrupts

T = TypeVar("T")


async def abortable(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; at Ctrl-C or SIGTERM, cancel it and raise Interrupted."""
    return await interrupts_by().abort(work)


def interrupts_by(*signals: signal.Signals, can_leave: bool = False) -> Interrupts:
    """Return interrupts that Ctrl-C and SIGTERM send (or the given signals), in the running event loop.

    With `can_leave`, Ctrl-\\ leaves the run, and so does the end of the terminal once the job starts.
    """
    interrupts, loop = Interrupts(), asyncio.get_running_loop()
    for number in signals or (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupts.send, number)
    if can_leave:
        loop.add_signal_handler(signal.SIGQUIT, interrupts.detach, "left with Ctrl-\\")
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored: run by nohup
            reason = "the terminal was closed"
            loop.add_signal_handler(signal.SIGHUP, interrupts.hang_up, signal.SIGHUP, reason)
    return interrupts
