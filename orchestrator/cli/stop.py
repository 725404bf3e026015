"""`orch stop`: end a run from anywhere on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.api import values
from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.runs.saved_run import SavedRun


def stop(
    run: options.ActiveRun = None,
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--grace", 0.0),
            help="Between SIGTERM and SIGKILL.  [default: as the run was launched]",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Stop every run that has not ended.")
    ] = False,
) -> None:
    """Stop a run on all its nodes, and return when it is over.

    Every rank gets SIGTERM, and SIGKILL after the grace. Whoever is attached to the run sees it end.
    Ctrl-C ends the waiting only: the wish to stop stays.

    Exits with 0 when the run is over, whoever ended it and however; 125 when its end was not seen.

    \b
    Examples:
      orch stop
      orch stop train-lusab --grace 60
      orch stop --all
    """
    import asyncio
    import sys

    from orchestrator.errors import LaunchError, UsageError
    from orchestrator.runs.registry import active_runs

    if every and run is not None:
        raise UsageError("RUN and --all exclude each other")
    if every:
        meant = active_runs()
    else:
        from orchestrator.cli.selection import active_run

        meant = [active_run(run, "orch stop")]
    if not meant:
        from orchestrator.ui.stderr import Stderr

        Stderr().line("no active runs")
    elif not asyncio.run(_stop_all(meant, grace)):
        sys.exit(LaunchError.exit_code)


async def _stop_all(runs: list[SavedRun], grace: float | None) -> bool:
    """Stop the runs, all at once, say of each how it ended, and tell whether all have."""
    import asyncio

    from orchestrator import events
    from orchestrator.api.stop import stop
    from orchestrator.errors import LaunchError
    from orchestrator.ui.messages import ended_after
    from orchestrator.ui.stderr import Stderr

    stderr = Stderr()

    async def stop_one(saved: SavedRun) -> bool:
        def hear(event: events.Event) -> None:
            if isinstance(event, events.Stopping):
                stderr.line(f"run {saved.run}: stopping all ranks, {event.grace:g} s of grace")
            elif isinstance(event, events.NodeLost):
                stderr.line(f"run {saved.run}: {event.node} is waited for: {event.cause}", "yellow")
            elif isinstance(event, events.Warned):
                stderr.line(f"warning: {event.message}", "yellow")

        if saved.has_ended:
            stderr.line(f"run {saved.run} has ended already: {saved.summary}")
            return True
        try:
            ended = await stop(saved, hear, grace=grace)
        except LaunchError as error:
            stderr.line(str(error), "red")
            return False
        stderr.line(f"run {saved.run} is over: {ended_after(ended)}")
        return True

    return all(await asyncio.gather(*(stop_one(saved) for saved in runs)))
