"""`orch exec`: one command on every node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.api import values
from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.api.execute import Execution
    from orchestrator.api.hosts import Choice
    from orchestrator.plan import Job
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
    fold: Annotated[
        bool,
        typer.Option(
            "--fold/--no-fold",
            help="Show output that is equal on several nodes once, at the end; or all lines as they come.",
        ),
    ] = True,
    terminal: Annotated[
        bool,
        typer.Option("-t", "--terminal", help="Give CMD this terminal: for one node, as ssh -t."),
    ] = False,
    in_workdir: Annotated[
        bool,
        typer.Option(
            "--in-workdir",
            "-w",
            help="Start in the folder where a launch from here has its files on each node.",
        ),
    ] = False,
    transport: options.Transport = "ssh",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Run CMD on every node at once and show its output.

    Each line begins with its node, node[0-2] where all of them have written the same: that is shown when
    CMD has ended everywhere; --no-fold shows lines as they come. CMD runs in the home folder, as a login
    by SSH would run it, with nothing on its standard input; its standard error is shown among its output.
    For pipes, variables and globs on the nodes, run a shell: sh -c '...'. Ctrl-C and --timeout end CMD on
    every node. If one node cannot be reached, CMD runs nowhere; --exclude leaves that node out.

    Exits with 0 when CMD did so on every node, else with the highest exit code; 124 after a time-out,
    125 when a node cannot be reached or was lost, 130 after Ctrl-C.

    \b
    Examples:
      orch exec -- nvidia-smi -L
      orch exec --nodes 'gpu[0-3]' -- sh -c 'df -h ~ | tail -n 1'
      orch exec -w -- git log -1 --oneline
      orch exec -t --nodes gpu0 -- htop
      orch exec --timeout 600 --no-fold -- /opt/venv/bin/pip install -r requirements.txt
    """
    import asyncio
    import sys

    from orchestrator.api.hosts import Choice
    from orchestrator.ui.console import Console, View

    choice = Choice(
        inventory, local, nodes, exclude, accept_new, connect_timeout, transport, options.say_format
    )
    argv = [command, *(arguments or ())]
    if terminal:
        sys.exit(_at_terminal(choice, argv, in_workdir=in_workdir, timeout=timeout))
    console = Console(View())
    try:
        result = asyncio.run(
            _execute(choice, argv, timeout, console, fold=fold, in_workdir=in_workdir)
        )
    finally:
        console.close()
    _tell(result)
    sys.exit(result.exit_code)


async def _execute(
    choice: Choice,
    argv: list[str],
    timeout: float | None,
    console: Console,
    *,
    fold: bool,
    in_workdir: bool,
) -> Execution:
    from orchestrator import events
    from orchestrator.api.execute import execute
    from orchestrator.api.hosts import chosen
    from orchestrator.api.job import local_name
    from orchestrator.cli.signals import end_on_signals
    from orchestrator.control.interrupts import Interrupts
    from orchestrator.ui.folded_nodes import FoldedNodes
    from orchestrator.ui.node_lines import NodeLines

    interrupts = Interrupts()
    end_on_signals(interrupts)
    runs_now = False

    def hear(event: events.Event) -> None:
        nonlocal runs_now
        if isinstance(event, events.PhaseBegan) and event.phase == "run":
            runs_now = True
            if not folds:
                console.close()  # all are connected: what is shown from here on is theirs
        if folds or not runs_now:
            console(event)
        if folds and runs_now and isinstance(event, events.PhaseEnded):
            console.close()

    project = _project() if in_workdir else None
    async with chosen(choice, "any" if project is None else local_name(project)) as (
        hosts,
        way,
    ):
        names = [host.name for host in hosts.hosts]
        folds = fold and len(names) > 1
        async with (FoldedNodes if folds else NodeLines)(names) as lines:
            return await execute(
                hosts, argv, way, lines.show, hear,
                project=project,
                timeout=timeout, interrupts=interrupts,
            )  # fmt: skip


def _at_terminal(
    choice: Choice, argv: list[str], *, in_workdir: bool, timeout: float | None
) -> int:
    """Run the command with this terminal on the one node that is chosen; return its exit code."""
    import os
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    from orchestrator.api.execute import find_folders
    from orchestrator.api.hosts import chosen
    from orchestrator.cli.terminal_session import Session, converse, one_of, script_of
    from orchestrator.errors import UsageError

    if not os.isatty(0):
        raise UsageError("-t: standard input is no terminal", remedy="leave out -t")
    if timeout is not None:
        raise UsageError("-t and --timeout exclude each other")

    @asynccontextmanager
    async def begin() -> AsyncIterator[Session]:
        async with chosen(choice) as (inventory, transport):
            host = one_of(inventory.hosts, choice.nodes)
            folder = ""
            if in_workdir:
                (folder,) = await find_folders(inventory, _project(), transport)
            yield Session(host, transport, script_of(argv, folder))

    return converse(begin)


def _project() -> Job:
    """Return the project of the current folder, as a launch from here has it."""
    from pathlib import Path

    from orchestrator.api.script import workdir_name
    from orchestrator.plan import Job

    here = Path.cwd()
    return Job("", workdir_name=workdir_name(here), project=str(here.resolve()))


def _tell(result: Execution) -> None:
    """Say on stderr where the command failed, and why orch ended it."""
    from orchestrator.inventory.ranges import fold
    from orchestrator.remote.grouped_errors import grouped_lines
    from orchestrator.ui.stderr import Stderr

    stderr = Stderr()
    unfinished = fold(end.node for end in result.ends if end.exit_code is None)
    if result.stop is not None:
        where = f"; ended the command on {unfinished}" if unfinished else ""
        stderr.line(f"{result.stop}{where}", "red")
    lost = [end.problem for end in result.ends if end.problem is not None]
    for row in grouped_lines(lost) if result.stop is None else ():
        stderr.line(row, "red")
    failed: dict[int, list[str]] = {}
    for end in result.ends:
        if end.exit_code:
            failed.setdefault(end.exit_code, []).append(end.node)
    if failed:
        codes = "; ".join(f"{code} on {fold(failed[code])}" for code in sorted(failed))
        stderr.line(f"✗ exit code {codes}", "red")
