"""`orch stacks`: where every rank of a run is now."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def stacks(
    run: options.ActiveRun = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every thread of every process, with all frames.")
    ] = False,
    rank: options.Rank = None,
    nodes: options.NodesOfRun = None,
    output: Annotated[
        options.TextOrJson, typer.Option(help="text: identical stacks once; json: one object.")
    ] = "text",
) -> None:
    """Show where every rank of a run is in its Python code, now.

    \b
    Examples:
      orch stacks
      orch stacks train-lusab --full --rank 3
      orch stacks --output json | jq -r .suspect

    Ranks at the same place share an entry. Connections that get no answer are named, and the rank that
    the others wait for, if one stands out. The run continues.

    Uses py-spy if the job's environment or PATH has it. Otherwise each Python of the run reports its own
    stacks, through faulthandler and signal 41; not with python -I, -E or -S, or after a launch with
    --env ORCH_STACKS=0.
    """
    import asyncio

    from orchestrator import events
    from orchestrator.api.selection import active_run
    from orchestrator.api.stacks import stacks as use_case
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.ui.stacks import show

    found = asyncio.run(use_case(active_run(run, "orch stacks"), rank=rank, nodes=nodes))
    printer = EventPrinter()
    for problem in found.problems.values():
        printer(events.Warned(problem))
    show(found, output, full=full)
