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
    transport: options.Transport = "ssh",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Connect to every node and show what it is.

    A row each: its Python and torch, CPUs and GPUs with their model and memory, the interface and
    address on the network that all nodes share, whether it has rsync, how far its clock is from this
    machine's, and its home; spares come last. A node that cannot be reached has a row too. Below the
    table stands why a launch could not work, and what to do about it. Exits with 0 when it could, 1 when
    a node lacks something, 125 when one cannot be reached.

    \b
    Examples:
      orch nodes
      orch nodes -i hosts.yaml --nodes 'gpu[0-3]'
      orch nodes --output json | jq -r '.[] | select(.reachable | not) | .name'
    """
    import asyncio
    import sys

    from orchestrator.api.hosts import Choice, chosen
    from orchestrator.api.nodes import NodeReport, survey
    from orchestrator.errors import LaunchError
    from orchestrator.ui.console import Console, View
    from orchestrator.ui.nodes import show

    choice = Choice(
        inventory, local, nodes, exclude, accept_new, connect_timeout, transport, options.say_format
    )
    console = Console(View())

    async def find_out() -> list[NodeReport]:
        async with chosen(choice) as (hosts, way):
            if nodes is not None:  # other spares than those that it names are not asked for
                hosts = hosts.model_copy(update={"spares": ()})
            return await survey(hosts, way, console)

    try:
        reports = asyncio.run(find_out())
    finally:
        console.close()
    show(reports, output)
    if any(report.problem is not None for report in reports):
        sys.exit(LaunchError.exit_code)
    if any(report.faults for report in reports):
        sys.exit(1)
