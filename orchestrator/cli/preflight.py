"""`orch preflight`: would a launch work, and if not, why not."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orchestrator.cli import complete, options
from orchestrator.cli.log_options import note_verbosity


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
            metavar="ID,...",
            help="These checks alone, such as net.tcp,gpu (or net: all net.*).",
            autocompletion=complete.checks,
        ),
    ] = None,
    nproc: options.Nproc = None,
    launcher: options.Launcher = None,
    module: options.Module = False,
    no_python: options.NoPython = False,
    main_address: options.MainAddress = None,
    main_port: options.MainPort = None,
    env: options.Env = None,
    env_file: options.EnvFile = None,
    sync: options.Sync = None,
    no_sync: options.NoSync = False,
    workdir: options.Workdir = None,
    output: Annotated[
        Literal["text", "json"],
        typer.Option(help="text: what is wrong and what to do; json: one object."),
    ] = "text",
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            callback=note_verbosity,
            show_default=False,
            help="Show what passes and what is skipped, too: a table of all; and log to stderr what orch "
            "does. -vv: every step.",
        ),
    ] = 0,
    transport: options.Transport = "ssh",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Try on every node what a launch will need.

    Firewalls, names, interfaces, MTU, versions, GPUs, disks, clocks: each finding names the nodes, the
    cause, and the lines to paste that fix it; -v shows what is well, too. Starts nothing that stays.
    Exits with 0 when nothing fails, 1 when a check fails, 125 when one could not be made.

    \b
    Examples:
      orch preflight
      orch preflight -i hosts.yaml --level quick train.py
      orch preflight --only net.tcp,net.mtupath
      orch preflight --output json | jq -r '.checks[] | select(.status == "fail") | .remedy.commands[]?'
    """
    import asyncio
    import sys
    import time

    from orchestrator.api import preflight as use_case
    from orchestrator.api.hosts import Choice
    from orchestrator.api.job import JobWords
    from orchestrator.api.preflight_request import PreflightArguments, preflight_request
    from orchestrator.cli.signals import end_on_signals
    from orchestrator.control.interrupts import Interrupts
    from orchestrator.errors import LaunchError
    from orchestrator.preflight.model import Status
    from orchestrator.preflight.report import Report
    from orchestrator.ui.console import Console, View
    from orchestrator.ui.preflight import show

    asked = PreflightArguments(
        job=JobWords(
            script=script,
            module=module,
            no_python=no_python,
            launcher=launcher,
            nproc=nproc,
            main_address=main_address,
            main_port=main_port,
            env=tuple(env or ()),
            env_file=env_file,
            sync=sync,
            no_sync=no_sync,
            workdir=workdir,
        ),
        hosts=Choice(
            inventory,
            local,
            nodes,
            exclude,
            accept_new,
            connect_timeout,
            transport,
            options.say_format,
        ),
        level=level,
        only=tuple(only.split(",")) if only else (),
    )
    console = Console(View())

    async def run_checks() -> Report:
        interrupts = Interrupts()
        end_on_signals(interrupts)
        async with preflight_request(asked) as request:
            return await use_case.preflight(request, console, interrupts)

    began = time.monotonic()
    try:
        report = asyncio.run(run_checks())
    finally:
        console.close()
    show(report, time.monotonic() - began, output, verbose=verbose > 0)
    if report.status is Status.FAIL:
        sys.exit(1)
    if report.status is Status.INCOMPLETE:
        sys.exit(LaunchError.exit_code)
