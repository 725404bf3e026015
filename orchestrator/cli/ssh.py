"""`orch ssh`: a shell on a node."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import complete, options


def ssh(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="A node of the inventory.", show_default=False)
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CMD",
            help="A command in place of the shell; its words arrive as they are.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="A run's node, in its working folder, with the environment of its ranks.",
            autocompletion=complete.runs,
        ),
    ] = None,
    inventory: options.Inventory = None,
    local: options.Local = None,
    transport: options.Transport = "ssh",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Open a shell on NODE, by the way that orch has to it.

    Address, user, keys, gateways and host keys are those of the inventory. With --run the shell begins in
    the run's working folder and has the variables that its ranks have, but for secrets, which are on no
    disk. A terminal here is one there; without one, what comes on standard input goes there. Enter ~ .
    hangs up.

    Exits with the code of the shell, or of CMD; 255 after Enter ~ . and 125 when the node cannot be
    reached or is lost.

    \b
    Examples:
      orch ssh gpu03
      orch ssh node0 nvtop
      orch ssh --run latest node0
    """
    import sys
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    from orchestrator.api.hosts import Choice, chosen
    from orchestrator.api.selection import nodes_of
    from orchestrator.api.shell import environment_of
    from orchestrator.cli.terminal_session import Session, converse, one_of, script_of
    from orchestrator.errors import UsageError
    from orchestrator.runs.connections import connections_to
    from orchestrator.runs.registry import find_run
    from orchestrator.ui.stderr import Stderr

    argv = tuple(command or ())

    @asynccontextmanager
    async def on_host() -> AsyncIterator[Session]:
        choice = Choice(
            inventory, local, node, None, accept_new, connect_timeout, transport, options.say_format
        )
        async with chosen(choice) as (hosts, way):
            script = script_of(argv) if argv else None
            yield Session(one_of(hosts.hosts, node), way, script)

    @asynccontextmanager
    async def on_node_of_run() -> AsyncIterator[Session]:
        saved = find_run(run)
        nodes_of(saved.plan, node)
        plan = next((each for each in saved.plan.nodes if each.name == node), None)
        if plan is None:
            raise UsageError(f"{node}: one node is wanted, not several")
        environment, lacking = environment_of(plan)
        if lacking:
            Stderr().line(f"without {', '.join(lacking)}: their values are on no disk", "yellow")
        async with connections_to(saved) as (_, transport):
            script = script_of(argv, plan.cwd, environment)
            yield Session(plan.host, transport, script)

    if run is not None and (inventory is not None or local is not None):
        raise UsageError("--run names its nodes itself: leave out --inventory and --local")
    sys.exit(converse(on_node_of_run if run is not None else on_host))
