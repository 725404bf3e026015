"""`orch nodes`: what every node is."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orchestrator.cli import options


def nodes(
    inventory: options.Inventory = None,
    local: options.Local = None,
    nodes: options.Nodes = None,
    exclude: options.Exclude = None,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="text: a table; json: a list of objects.")
    ] = "text",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Connect to every node and show what it is.

    A row each: its Python, CPUs and GPUs, the interface and address on the network that all nodes
    share, whether it has rsync, how far its clock is from this machine's, and its home; spares come
    last. A node that cannot be reached has a row too, and below the table why, and what to do about it.
    Exits with 0 when all nodes answered, else with 125.

    \b
    Examples:
      orch nodes
      orch nodes -i hosts.yaml --nodes 'gpu[0-3]'
      orch nodes --output json | jq -r '.[] | select(.reachable | not) | .name'
    """
    import asyncio
    import sys

    from orchestrator.cli.hosts import Choice, chosen
    from orchestrator.errors import LaunchError
    from orchestrator.nodes import NodeReport, survey
    from orchestrator.ui.console import Console, View
    from orchestrator.ui.nodes import show

    choice = Choice(inventory, local, nodes, exclude, accept_new, connect_timeout)
    console = Console(View())

    async def find_out() -> list[NodeReport]:
        async with chosen(choice) as (hosts, connect):
            if nodes is not None:  # other spares than those that it names are not asked for
                hosts = hosts.model_copy(update={"spares": ()})
            return await survey(hosts, connect, console)

    try:
        reports = asyncio.run(find_out())
    finally:
        console.close()
    show(reports, output)
    if any(report.problem is not None for report in reports):
        sys.exit(LaunchError.exit_code)
