"""`orch ssh`: a shell on a node."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import complete, options


def ssh(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="A node of the inventory.", show_default=False)
    ],
    hosts: options.Connection,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CMD",
            help="A command instead of the shell, passed on as it is.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="On a node of RUN, in its working folder, with its ranks' environment.",
            autocompletion=complete.runs,
        ),
    ] = None,
) -> None:
    """Open a shell on NODE, over orch's own connection.

    \b
    Examples:
      orch ssh gpu03
      orch ssh node0 nvtop
      orch ssh --run latest node0

    Address, user, keys, gateways and host keys are those of the inventory. With --run the shell starts in
    the run's working folder and has the variables of its ranks, except for secrets, which are not stored.
    A terminal here is a terminal there; without one, standard input is passed on. Enter ~ . hangs up.

    Exits with the code of the shell, or of CMD; 255 after Enter ~ . and 125 if the node cannot be reached
    or is lost.
    """
    import sys

    from orchestrator.api.shell import host_session, run_session
    from orchestrator.cli.terminal_session import converse
    from orchestrator.errors import UsageError
    from orchestrator.ui.console import Console, View

    argv, console = tuple(command or ()), Console(View())
    if run is None:
        chosen = options.given(hosts)
        chosen["nodes"] = node
        session = host_session(chosen, argv, note=options.show_format)
    elif hosts.hosts is not None or hosts.host_list is not None or hosts.local is not None:
        raise UsageError("--run names its nodes itself: leave out --inventory, --hosts and --local")
    else:
        session = run_session(run, node, argv, console)
    sys.exit(converse(session, console))
