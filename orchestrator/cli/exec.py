"""`orch exec`: one command on every node."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def execute(
    command: Annotated[
        str, typer.Argument(metavar="CMD", help="The command to run.", show_default=False)
    ],
    hosts: options.Hosts,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS", help="Its arguments, passed on as they are.", show_default=False
        ),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="End the command after TIME.")
    ] = None,
    fold: Annotated[
        bool,
        typer.Option(
            "--fold/--no-fold",
            help="Show identical output of several nodes once, at the end; or lines as they come.",
        ),
    ] = True,
    terminal: Annotated[
        bool,
        typer.Option("-t", "--terminal", help="Give CMD this terminal, on one node, as ssh -t."),
    ] = False,
    in_workdir: Annotated[
        bool,
        typer.Option("--in-workdir", "-w", help="Run in the working folder of a launch from here."),
    ] = False,
) -> None:
    """Run CMD on every node at once and show its output.

    \b
    Examples:
      orch exec -- nvidia-smi -L
      orch exec --nodes 'gpu[0-3]' -- sh -c 'df -h ~ | tail -n 1'
      orch exec -w -- git log -1 --oneline
      orch exec -t --nodes gpu0 -- htop
      orch exec --timeout 600 --no-fold -- /opt/venv/bin/pip install -r requirements.txt

    Each line starts with its node, or node[0-2] if all of them wrote the same; that is shown when CMD has
    ended on every node, unless with --no-fold. CMD runs in the home folder, as at a login by SSH, with
    empty standard input; its standard error is shown with its output. For pipes, variables and globs on
    the nodes, run a shell: sh -c '...'. Ctrl-C and --timeout end CMD on every node. If a node cannot be
    reached, CMD runs on none; --exclude leaves that node out.

    Exits with the highest exit code of CMD; 124 after a timeout, 125 if a node cannot be reached or was
    lost, 130 after Ctrl-C.
    """
    import os
    import sys

    from orchestrator import events
    from orchestrator.api import execute as use_case
    from orchestrator.api.hosts import open_hosts
    from orchestrator.api.interrupts import interrupts_by
    from orchestrator.api.job import local_name, project_here
    from orchestrator.api.shell import host_session
    from orchestrator.api.values import seconds
    from orchestrator.cli.console import run
    from orchestrator.cli.terminal_session import converse
    from orchestrator.errors import UsageError
    from orchestrator.ui.console import Console, View
    from orchestrator.ui.execution import show_end
    from orchestrator.ui.folded_nodes import FoldedNodes
    from orchestrator.ui.node_lines import NodeLines

    chosen, note, argv = options.given(hosts), options.show_format, [command, *(arguments or ())]
    console = Console(View())
    if terminal:
        if not os.isatty(0):
            raise UsageError("-t: standard input is no terminal", remedy="leave out -t")
        if timeout is not None:
            raise UsageError("-t and --timeout exclude each other")
        session = host_session(chosen, argv, in_workdir=in_workdir, note=note)
        sys.exit(converse(session, console))
    limit = seconds("--timeout", timeout, 0.1)
    project = project_here() if in_workdir else None

    async def execute_and_show() -> use_case.Execution:
        interrupts, is_running = interrupts_by(), False

        def hear(event: events.Event) -> None:
            nonlocal is_running
            if isinstance(event, events.PhaseBegan) and event.phase == "run":
                is_running = True
                if not folds:
                    console.close()  # from here on, only the output of CMD is shown
            if folds or not is_running:
                console(event)
            if folds and is_running and isinstance(event, events.PhaseEnded):
                console.close()

        async with open_hosts(chosen, local_name=local_name(project), note=note) as (found, way):
            names = [host.name for host in found.hosts]
            folds = fold and len(names) > 1
            async with (FoldedNodes if folds else NodeLines)(names) as lines:
                return await use_case.execute(
                    found, argv, way, lines.show, hear,
                    project=project, timeout=limit, interrupts=interrupts,
                )  # fmt: skip

    result = run(execute_and_show(), console)
    show_end(result)
    sys.exit(result.exit_code)
