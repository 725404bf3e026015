"""`orch stacks`: where every rank of a run is now."""

from __future__ import annotations

from typing import Annotated, Literal

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
        Literal["text", "json"], typer.Option(help="text: folded; json: one object.")
    ] = "text",
) -> None:
    """Show where every rank of a run is in its Python code, now.

    Ranks at the same place share an entry; connections that get no answer are named, and the rank that
    the others wait for, if one stands out. The run goes on.

    On the nodes py-spy is asked, where the job's environment or the PATH has it. Otherwise each Python of
    the run tells by itself, through faulthandler and signal 41; not so with python -I, -E or -S, or with
    --env ORCH_STACKS=0 at the launch.

    \b
    Examples:
      orch stacks
      orch stacks train-lusab --full --rank 3
      orch stacks --output json | jq -r .suspect
    """
    import asyncio
    from dataclasses import replace

    from orchestrator.api.selection import nodes_of, ranks_of
    from orchestrator.api.stacks import stacks as ask
    from orchestrator.cli.selection import active_run
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.ui.stacks import StacksView, show

    saved = active_run(run, "orch stacks")
    wanted, on = ranks_of(saved.plan, rank), nodes_of(saved.plan, nodes)
    if wanted is not None and saved.plan.elastic is None:  # else any node may have them now
        home = {node.name for node in saved.plan.nodes if any(n in wanted for n in node.ranks)}
        on = frozenset(home if on is None else home & on)
    found = asyncio.run(ask(saved, nodes=on))
    looks = found.looks
    if wanted is not None:
        looks = tuple(
            replace(look, processes=tuple(p for p in look.processes if p.rank in wanted))
            for look in looks
        )
    tell = EventPrinter()
    for problem in found.problems.values():
        tell.say(f"warning: {problem}", "yellow")
    show(StacksView(saved.run, looks, found.problems, found.names, found.ended), output, full=full)
