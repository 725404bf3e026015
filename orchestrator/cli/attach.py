"""`orch attach`: be back at a run as if it had been launched here."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def attach(
    run: options.Run = None,
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
      orch attach lusab --tail 100
      orch attach --rank 0 --timestamps
    """
    from orchestrator.cli import run_attach

    run_attach.run(run_attach.Arguments(run, tail, rank, timestamps, output))
