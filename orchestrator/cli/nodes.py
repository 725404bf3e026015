"""`orch nodes`: what every node is."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def nodes(
    hosts: options.Hosts,
    output: Annotated[
        options.TextOrJson, typer.Option(help="text: a table; json: a list of objects.")
    ] = "text",
) -> None:
    """Connect to every node and show what it is.

    \b
    Examples:
      orch nodes
      orch nodes -i hosts.yaml --nodes 'gpu[0-3]'
      orch nodes --output json | jq -r '.[] | select(.reachable | not) | .name'

    Shows a row for each node: its Python and torch, CPUs and GPUs with their model and memory, the
    interface and address on the network that all nodes share, whether it has rsync, how far its clock is
    from this machine's, and its home; spares come last. Unreachable nodes are listed too. Below the table
    stands why a launch would fail, and what to do about it.

    Exits with 0 if a launch would work, 1 if a node lacks something, 125 if one cannot be reached.
    """
    import sys

    from orchestrator.api.nodes import nodes as use_case
    from orchestrator.cli.console import run
    from orchestrator.errors import LaunchError
    from orchestrator.ui.console import Console, View
    from orchestrator.ui.nodes import show

    console = Console(View())
    reports = run(use_case(options.given(hosts), console, options.show_format), console)
    show(reports, output)
    if any(report.problem is not None for report in reports):
        sys.exit(LaunchError.exit_code)
    if any(report.faults for report in reports):
        sys.exit(1)
