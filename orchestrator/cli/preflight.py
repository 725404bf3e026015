"""`orch preflight`: would a launch work, and if not, why not."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orchestrator.cli import options


def preflight(
    script: Annotated[
        str | None,
        typer.Argument(
            metavar="SCRIPT", help="The training script, to look into it too.", show_default=False
        ),
    ] = None,
    inventory: options.Inventory = None,
    local: options.Local = None,
    nodes: options.Nodes = None,
    exclude: options.Exclude = None,
    level: Annotated[
        Literal["quick", "full"],
        typer.Option(help="quick: as before every launch; full: everything, a collective too."),
    ] = "full",
    only: Annotated[
        str | None,
        typer.Option(
            metavar="ID,...", help="These checks alone, such as net.tcp,gpu (or net: all net.*)."
        ),
    ] = None,
    nproc: options.Nproc = None,
    launcher: options.Launcher = None,
    module: options.Module = False,
    main_address: options.MainAddress = None,
    main_port: options.MainPort = None,
    env: options.Env = None,
    env_file: options.EnvFile = None,
    sync: options.Sync = None,
    no_sync: options.NoSync = False,
    output: Annotated[
        Literal["text", "json"],
        typer.Option(help="text: a table and what to do; json: one object."),
    ] = "text",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Try on every node what a launch will need.

    Firewalls, names, interfaces, MTU, versions, GPUs, disks, clocks: each finding names the nodes, the
    cause, and the lines to paste that mend it. Starts nothing that stays. Exits with 0 when nothing fails,
    1 when a check fails, 125 when one could not be made.

    \b
    Examples:
      orch preflight
      orch preflight -i hosts.yaml --level quick train.py
      orch preflight --only net.tcp,net.mtupath
      orch preflight --output json | jq -r '.checks[] | select(.status == "fail") | .remedy.commands[]?'
    """
    from orchestrator.cli import run_preflight
    from orchestrator.cli.hosts import Choice
    from orchestrator.cli.job import JobWords

    run_preflight.run(
        run_preflight.Arguments(
            job=JobWords(
                script=script,
                module=module,
                launcher=launcher,
                nproc=nproc,
                main_address=main_address,
                main_port=main_port,
                env=tuple(env or ()),
                env_file=env_file,
                sync=sync,
                no_sync=no_sync,
            ),
            hosts=Choice(inventory, local, nodes, exclude, accept_new, connect_timeout),
            level=level,
            only=tuple(only.split(",")) if only else (),
            output=output,
        )
    )
