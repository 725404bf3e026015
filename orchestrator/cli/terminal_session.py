"""A session on one node at this terminal: for `orch ssh` and `orch exec -t`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from orchestrator.api.interrupts import interrupts_by
from orchestrator.api.shell import Session, interact
from orchestrator.cli.console import run
from orchestrator.ui.console import Console
from orchestrator.ui.raw_terminal import RawTerminal


def converse(opening: AbstractAsyncContextManager[Session], console: Console) -> int:
    """Connect this terminal to the session that is being opened; return its exit code."""
    terminal = RawTerminal()

    def take() -> RawTerminal:
        console.close()
        terminal.take()
        return terminal

    async def work() -> int:
        interrupts = interrupts_by()
        async with opening as session:
            return await interact(session, take, console, interrupts)

    try:
        return run(work(), console)
    finally:
        terminal.release()
