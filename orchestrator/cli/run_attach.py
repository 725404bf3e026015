"""Turn the words of `orch attach` into one request, and carry it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator import events
from orchestrator.attach import attach
from orchestrator.cli.finish import run_and_exit
from orchestrator.cli.selection import ranks_of
from orchestrator.cli.signals import listen_to_signals
from orchestrator.logs.select import Selection
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.registry import find
from orchestrator.runs.saved import Saved
from orchestrator.ui.console import Console, View


@dataclass(frozen=True)
class Arguments:
    """The words of the command line, as typed."""

    run: str | None
    tail: int
    rank: str | None
    timestamps: bool
    output: Literal["text", "json", "raw"]


def run(arguments: Arguments) -> None:
    """Carry out `orch attach`; exits with the run's exit code."""
    saved = find(arguments.run)
    selection = Selection(ranks=ranks_of(saved.plan, arguments.rank))
    console = Console(
        View(
            arguments.output,
            selection.ranks,
            arguments.timestamps,
            began=saved.began,
            limit=saved.settings.timeout,
        )
    )
    run_and_exit(_run(saved, selection, arguments.tail, console), console)


async def _run(saved: Saved, selection: Selection, tail: int, console: Console) -> int:
    interrupts = Interrupts()
    listen_to_signals(interrupts)

    def hear(event: events.Event) -> None:
        console(event)
        if isinstance(event, events.Planned) and not saved.has_ended:
            console(events.Started(saved.run, saved.folder))

    code = await attach(saved, hear, interrupts, want=selection.__contains__, last=tail)
    return code or 0
