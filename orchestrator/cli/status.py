"""`orch status`: what every rank of a run is doing."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def status(
    run: options.Run = None,
    output: Annotated[
        options.TextOrJson, typer.Option(help="text: a table; json: one object.")
    ] = "text",
) -> None:
    """Show what every node and rank of a run is doing.

    \b
    Examples:
      orch status
      orch status train-lusab
      orch status --output json | jq '.nodes[] | select(.unreachable_since)'

    Shows each rank's state, process, exit, the size of its output, its last line and how long ago that
    came. For a node that cannot be reached: since when; its ranks are then shown as they were last seen.
    An active run without a controller gets one, in the background.
    """
    import asyncio

    from orchestrator.api.selection import find_run
    from orchestrator.api.status import current_status
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.ui.status import show

    show(asyncio.run(current_status(find_run(run), EventPrinter())), output)
