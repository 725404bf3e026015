"""`orch attach`: be back at a run as if it had been launched here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.logs.selection import Selection
    from orchestrator.runs.saved_run import SavedRun
    from orchestrator.ui.console import Console


def attach(
    run: options.ActiveRun = None,
    tail: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Begin with the last N lines of what is past."),
    ] = 10,
    rank: options.Rank = None,
    timestamps: options.Timestamps = False,
    output: options.Output = "text",
) -> None:
    """Show a run as if it had been launched from here.

    Ctrl-C stops every rank on every node, as it does in `orch launch`; Ctrl-\\ leaves the run going, as
    does closing the terminal. Any number of terminals may be attached. `orch logs -f` shows the output
    too, and touches nothing.

    Exits with the job's own exit code, also when the run has ended already; 0 when you leave it.

    \b
    Examples:
      orch attach
      orch attach train-lusab --tail 100
      orch attach --rank 0 --timestamps
    """
    from orchestrator.api.selection import ranks_of
    from orchestrator.cli.finish import run_and_exit
    from orchestrator.cli.selection import active_run
    from orchestrator.logs.selection import Selection
    from orchestrator.ui.console import Console, View

    saved = active_run(run, "orch attach")
    selection = Selection(ranks=ranks_of(saved.plan, rank))
    limit = saved.settings.timeout
    view = View(output, selection.ranks, timestamps, began=saved.began, limit=limit)
    console = Console(view)
    run_and_exit(_attach(saved, selection, tail, console), console)


async def _attach(saved: SavedRun, selection: Selection, tail: int, console: Console) -> int:
    """Show the run until it ends or is left; return the exit code."""
    from orchestrator import events
    from orchestrator.api.attach import attach
    from orchestrator.cli.signals import listen_to_signals
    from orchestrator.control.interrupts import Interrupts

    interrupts = Interrupts()
    listen_to_signals(interrupts)

    def hear(event: events.Event) -> None:
        console(event)
        if isinstance(event, events.Planned) and not saved.has_ended:
            console(events.Started(saved.run, saved.folder))

    code = await attach(saved, hear, interrupts, want=selection.__contains__, last=tail)
    return code or 0
