"""`orch attach`: return to a run as if it had been launched here."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def attach(
    run: options.ActiveRun = None,
    tail: Annotated[
        int, typer.Option(metavar="N", min=0, help="Start with the last N lines of the past.")
    ] = 10,
    rank: options.Rank = None,
    timestamps: options.Timestamps = False,
    output: options.Output = "text",
) -> None:
    """Show a run as if it had been launched from here.

    \b
    Examples:
      orch attach
      orch attach train-lusab --tail 100
      orch attach --rank 0 --timestamps

    Ctrl-C stops every rank on every node, as in `orch launch`; Ctrl-\\ leaves the run running, and so does
    closing the terminal. Any number of terminals may be attached. `orch logs -f` only shows the output.

    Exits with the job's exit code, also if the run has ended already; 0 after Ctrl-\\.
    """
    from orchestrator.api.attach import attach as use_case
    from orchestrator.api.interrupts import interrupts_by
    from orchestrator.api.selection import active_run, ranks_of
    from orchestrator.cli.console import run_and_exit
    from orchestrator.ui.console import Console, View

    saved = active_run(run, "orch attach")
    ranks = ranks_of(saved.plan, rank)
    console = Console(
        View(output, ranks, timestamps, began=saved.began, limit=saved.settings.timeout)
    )

    async def show() -> int | None:
        interrupts = interrupts_by(can_leave=True)
        return await use_case(saved, console, interrupts, ranks=ranks, tail=tail)

    run_and_exit(show(), console)
