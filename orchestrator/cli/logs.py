"""`orch logs`: what a run printed, and prints."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def logs(
    run: options.Run = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the run ends.")
    ] = False,
    rank: options.Rank = None,
    nodes: Annotated[
        str | None, typer.Option(metavar="SEL", help="Only these nodes, such as 'gpu[0-3],node7'.")
    ] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Standard output only.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Standard error only.")] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", metavar="N", min=0, help="Only the last N lines of the past."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="Only from then on: 10m, 1h30m, or a local time (UTC with Z): 14:05, 2026-01-31T09:30Z.",
        ),
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="RE", help="Only lines that match (before --tail counts).")
    ] = None,
    highlight: Annotated[
        str | None, typer.Option(metavar="RE", help="Mark on a terminal what matches.")
    ] = None,
    timestamps: options.Timestamps = False,
    fold: Annotated[
        bool | None,
        typer.Option(
            "--fold/--no-fold",
            help="Show lines that many ranks print alike once.  [default: those of stderr, on a "
            "terminal]",
            show_default=False,
        ),
    ] = None,
    output: options.Output = "text",
) -> None:
    """Show what a run printed, in the order of time across its nodes.

    While the run goes on, when it has ended, and when its nodes are gone: lines come from the copies on
    this machine, and what these lack is fetched first, as far as the nodes can be reached. The run is
    never touched; Ctrl-C ends the looking only.

    With --rank, what the launchers say is left out. --output raw writes the stored bytes, those of the
    ranks' standard error to standard error. Exits with 0, however the run ended.

    \b
    Examples:
      orch logs -f
      orch logs -f --tail 0 --rank 0
      orch logs lusab --rank 0,4-7 --tail 100
      orch logs --stderr --since 10m --grep 'Error|warn'
      orch logs --output json | jq -r 'select(.rank == 0) | .text'
      orch logs --rank 3 --stdout --output raw > rank-3.out
      orch logs --timestamps | lnav
    """
    from orchestrator.cli import run_logs

    run_logs.run(
        run_logs.Arguments(
            run=run,
            follow=follow,
            rank=rank,
            nodes=nodes,
            stdout=stdout,
            stderr=stderr,
            tail=tail,
            since=since,
            grep=grep,
            highlight=highlight,
            timestamps=timestamps,
            fold=fold,
            output=output,
        )
    )
