"""`orch stop`: stop a run from anywhere on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def stop(
    run: options.ActiveRun = None,
    grace: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Time between SIGTERM and SIGKILL.  [default: as of the launch]"
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Stop every active run.")] = False,
) -> None:
    """Stop a run on all its nodes, and return once it has ended.

    \b
    Examples:
      orch stop
      orch stop train-lusab --grace 60
      orch stop --all

    Every rank gets SIGTERM, and SIGKILL after the grace. Terminals that are attached to the run see it
    end. Ctrl-C ends only the waiting: the stop request stays.

    Exits with 0 once the run has ended, for whatever reason; 125 if that could not be confirmed.
    """
    import asyncio
    import sys

    from orchestrator.api.selection import active_run, active_runs
    from orchestrator.api.stop import stop_all
    from orchestrator.api.values import seconds
    from orchestrator.errors import LaunchError, UsageError
    from orchestrator.ui.stderr import Stderr
    from orchestrator.ui.stopping import stop_printer

    if every and run is not None:
        raise UsageError("RUN and --all exclude each other")
    limit = seconds("--grace", grace)
    runs = active_runs() if every else [active_run(run, "orch stop")]
    say = Stderr().line
    if not runs:
        say("no active runs")
    for saved in runs:
        if saved.has_ended:
            say(f"run {saved.run} has ended already: {saved.summary}")
    active = [saved for saved in runs if not saved.has_ended]
    problems = asyncio.run(stop_all(active, stop_printer, grace=limit))
    for problem in problems:
        say(str(problem), "red")
    if problems:
        sys.exit(LaunchError.exit_code)
