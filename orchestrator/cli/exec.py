"""`orch exec`: one command on every node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options, values

if TYPE_CHECKING:
    from orchestrator.cli.hosts import Choice
    from orchestrator.execute import Execution
    from orchestrator.ui.console import Console


def execute(
    command: Annotated[
        str, typer.Argument(metavar="CMD", help="The command to run.", show_default=False)
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS", help="Its arguments; they arrive as they are.", show_default=False
        ),
    ] = None,
    inventory: options.Inventory = None,
    local: options.Local = None,
    nodes: options.Nodes = None,
    exclude: options.Exclude = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--timeout", 0.1),
            help="End the command after this time.",
        ),
    ] = None,
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Run CMD on every node at once and show its output.

    Each line begins with the name of its node. CMD runs in the home folder, as a login by SSH would
    run it, with nothing on its standard input; its standard error is shown among its output. For
    pipes, variables and globs on the nodes, run a shell: sh -c '...'. Ctrl-C and --timeout end CMD on
    every node. If one node cannot be reached, CMD runs nowhere; --exclude leaves that node out.

    Exits with 0 when CMD did so on every node, else with the highest exit code; 124 after a time-out,
    125 when a node cannot be reached or was lost, 130 after Ctrl-C.

    \b
    Examples:
      orch exec -- nvidia-smi -L
      orch exec --nodes 'gpu[0-3]' -- sh -c 'df -h ~ | tail -n 1'
      orch exec --timeout 600 -- /opt/venv/bin/pip install -r requirements.txt
    """
    import asyncio
    import sys

    from orchestrator.cli.hosts import Choice
    from orchestrator.ui.console import Console, View

    choice = Choice(inventory, local, nodes, exclude, accept_new, connect_timeout)
    console = Console(View())
    try:
        result = asyncio.run(_execute(choice, [command, *(arguments or ())], timeout, console))
    finally:
        console.close()
    _tell(result)
    sys.exit(result.exit_code)


async def _execute(
    choice: Choice, argv: list[str], timeout: float | None, console: Console
) -> Execution:
    from orchestrator import events
    from orchestrator.cli.hosts import chosen
    from orchestrator.cli.signals import end_on_signals
    from orchestrator.execute import execute
    from orchestrator.runs.interrupts import Interrupts
    from orchestrator.ui.node_lines import NodeLines

    interrupts = Interrupts()
    end_on_signals(interrupts)

    def hear(event: events.Event) -> None:
        console(event)
        if isinstance(event, events.PhaseEnded):
            console.close()  # all are connected: what is shown from here on is theirs

    async with (
        chosen(choice) as (hosts, connect),
        NodeLines([host.name for host in hosts.hosts]) as lines,
    ):
        return await execute(
            hosts, argv, connect, lines.show, hear, timeout=timeout, interrupts=interrupts
        )


def _tell(result: Execution) -> None:
    """Say on stderr where the command failed, and why orch ended it."""
    from orchestrator.inventory.ranges import fold
    from orchestrator.ui.message import Stderr

    stderr = Stderr()
    unfinished = fold(end.node for end in result.ends if end.exit_code is None)
    if result.stop is not None:
        where = f"; ended the command on {unfinished}" if unfinished else ""
        stderr.line(f"{result.stop}{where}", "red")
    failed: dict[int, list[str]] = {}
    for end in result.ends:
        if end.exit_code is None and result.stop is None:
            stderr.line(str(end.problem), "red")
        elif end.exit_code:
            failed.setdefault(end.exit_code, []).append(end.node)
    if failed:
        codes = "; ".join(f"{code} on {fold(failed[code])}" for code in sorted(failed))
        stderr.line(f"✗ exit code {codes}", "red")
