"""`orch preflight`: whether a launch would work, and if not, why."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from orchestrator.cli import complete, options
from orchestrator.cli.command import verbose_option

_checks = partial(typer.Option, rich_help_panel="Checks")


def preflight(
    hosts: options.Hosts,
    job: options.Job,
    script: Annotated[
        str | None,
        typer.Argument(
            metavar="SCRIPT", help="Check this training script too.", show_default=False
        ),
    ] = None,
    level: Annotated[
        Literal["quick", "full"],
        _checks(help="quick: as before every launch; full: everything, with a collective."),
    ] = "full",
    only: Annotated[
        str | None,
        _checks(
            metavar="ID,...",
            help="Only these checks, such as net.tcp,gpu (or net for all net.*).",
            autocompletion=complete.checks,
        ),
    ] = None,
    output: Annotated[
        options.TextOrJson, _checks(help="text: what is wrong and how to fix it; json: one object.")
    ] = "text",
    verbose: Annotated[
        int,
        verbose_option(
            "Also show what passes or is skipped, and log what orch does; -vv: every step.",
            rich_help_panel="Checks",
        ),
    ] = 0,
) -> None:
    """Check every node for what a launch needs.

    \b
    Examples:
      orch preflight
      orch preflight -i hosts.yaml --level quick train.py
      orch preflight --only net.tcp,net.mtupath
      orch preflight --output json | jq '.checks[] | select(.status == "fail")'

    Checks firewalls, names, interfaces, MTU, versions, GPUs, disks and clocks. Each finding names the
    nodes, the cause, and the commands that fix it; -v shows what passes, too. Leaves nothing running.

    Exits with 0 if nothing fails, 1 if a check fails, 125 if one could not be completed.
    """
    import sys
    import time

    from orchestrator.api.interrupts import abortable
    from orchestrator.api.preflight import preflight as use_case
    from orchestrator.cli.console import run
    from orchestrator.errors import LaunchError
    from orchestrator.ui.console import Console, View
    from orchestrator.ui.preflight import show

    chosen = options.given(hosts, job)
    chosen |= {"level": level, "only": only.split(",") if only else ()}
    console = Console(View())
    checking = use_case(script, (), chosen, console, note=options.show_format)
    began = time.monotonic()
    report = run(abortable(checking), console)
    show(report, time.monotonic() - began, output, verbose=verbose > 0)
    sys.exit({"fail": 1, "incomplete": LaunchError.exit_code}.get(report.status, 0))
