"""The options that only `orch launch` has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import typer

_start = partial(typer.Option, rich_help_panel="Start")
_files = partial(typer.Option, rich_help_panel="Files")
_failure = partial(typer.Option, rich_help_panel="Failure")


@dataclass(frozen=True)
class LaunchOptions:
    """How the job starts and runs, and what happens when something fails."""

    launcher_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARG",
            help="Pass ARG to the launcher, such as --precision=bf16-mixed. Repeatable.",
            rich_help_panel="What runs",
        ),
    ] = None
    sync_limit: Annotated[
        str, _files(metavar="SIZE", help="Refuse to copy a larger folder. 0: no limit.")
    ] = "1G"
    overwrite: Annotated[
        bool,
        _files(
            "--overwrite",
            help="Replace files on nodes that changed there, or that orch did not place.",
        ),
    ] = False
    fetch: Annotated[
        list[str] | None,
        _files(
            metavar="PATTERN",
            help="Copy matching results from main to ./RUN after each attempt. Repeatable.",
        ),
    ] = None
    preflight: Annotated[
        Literal["quick", "full", "off"],
        _start(help="Checks before the start; a failure stops the launch. full adds a collective."),
    ] = "quick"
    name: Annotated[
        str | None,
        _start(metavar="NAME", help="Prefix of the run's name.  [default: the script's name]"),
    ] = None
    slurm: Annotated[
        str | None,
        _start(
            metavar="OPTIONS",
            help="Ask Slurm for the nodes, with these options of sbatch; wait in its queue.",
        ),
    ] = None
    slurm_login: Annotated[
        str | None,
        _start(
            metavar="HOST",
            help="With --slurm: reach Slurm and its nodes through this login host, over SSH.",
        ),
    ] = None
    detach: Annotated[
        bool, _start("--detach", "-d", help="Return once the job runs; print the run's name.")
    ] = False
    wait: Annotated[
        bool,
        _start(
            "--wait/--no-wait",
            help="Wait until no other run of yours uses the nodes; waiting launches start in order.",
            show_default=False,
        ),
    ] = False
    on_failure: Annotated[
        Literal["stop", "continue"], _failure(help="What the other ranks do when one fails.")
    ] = "stop"
    restarts: Annotated[
        int | None,
        _failure(
            metavar="N",
            min=0,
            max=1000,
            help="Restart the whole job up to N times; spares replace lost nodes.  [default: 0; "
            "with --elastic 3]",
        ),
    ] = None
    elastic: Annotated[
        str | None,
        _failure(
            metavar="MIN:MAX",
            help="Continue without lost nodes while MIN nodes are left; torchrun restarts ranks.",
        ),
    ] = None
    timeout: Annotated[
        str | None,
        _failure(
            metavar="TIME", help="Stop the run after TIME, with exit code 124.  [default: never]"
        ),
    ] = None
    stall: Annotated[
        str | None,
        _failure(
            metavar="TIME",
            help="Report a stall after TIME without progress on any rank.  [default: never]",
        ),
    ] = None
    on_stall: Annotated[
        Literal["show", "stop"], _failure(help="Only report a stall, or also stop the run.")
    ] = "show"
    node_timeout: Annotated[
        str,
        _failure(
            metavar="TIME",
            help="Treat a node as lost after TIME without contact, and stop the run. 0: never.",
        ),
    ] = "60s"
    lease: Annotated[
        str | None,
        _failure(
            metavar="TIME",
            help="Nodes stop their ranks after TIME without a controller.  [default: never]",
        ),
    ] = None
    grace: Annotated[
        str, _failure(metavar="TIME", help="Time between SIGTERM and SIGKILL in a stop.")
    ] = "3s"
    linger: Annotated[
        str,
        _failure(
            metavar="TIME",
            help="Time for processes that ranks leave running, once all ranks succeeded.",
        ),
    ] = "60s"
    log_limit: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Copy at most SIZE of logs to this machine; nodes keep the rest. 0: no limit.",
            rich_help_panel="Logs and output",
        ),
    ] = "50G"
