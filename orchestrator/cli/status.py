"""`orch status`: what every rank of a run is doing."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orchestrator.cli import options


def status(
    run: options.Run = None,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="text: a table; json: one object.")
    ] = "text",
) -> None:
    """Show what every node and rank of a run does.

    Its state, process, exit, how much it printed, its last line and how long ago that came. Where a node
    cannot be reached, since when; its ranks are then shown as they were last seen. A run that goes on
    without a controller gets one, in the background.

    \b
    Examples:
      orch status
      orch status train-lusab
      orch status --output json | jq '.nodes[] | select(.unreachable_since)'
    """
    import asyncio

    from orchestrator.api.refresh import refresh
    from orchestrator.api.status import status_of
    from orchestrator.runs.registry import find_run, unless_pruned
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.ui.status import show

    saved = find_run(run)
    if (
        not saved.has_ended
    ):  # else there is no news but logs that may be missing, which `orch logs` fetches
        saved = asyncio.run(refresh(saved, EventPrinter()))
    with unless_pruned(saved):
        known = status_of(saved)
    show(known, output)
