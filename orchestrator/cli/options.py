"""Options that mean the same in every command; `command.with_groups` takes those of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.cli import complete

_what = partial(typer.Option, rich_help_panel="What runs")
_where = partial(typer.Option, rich_help_panel="Where")
_files = partial(typer.Option, rich_help_panel="Files")
_display = partial(typer.Option, rich_help_panel="Logs and output")
_more = partial(typer.Option, rich_help_panel="More")

RUN_HELP = "The run: its name, a unique prefix of that or of its last part, or latest."


def run_argument(default: str) -> Any:
    """Return the argument RUN of a command; `default` says which run it means without one."""
    return typer.Argument(
        metavar="RUN",
        help=f"{RUN_HELP}  [default: {default}]",
        show_default=False,
        autocompletion=complete.runs,
    )


def rank_option(group: str) -> Any:
    """Return the option --rank, in a group of help."""
    return typer.Option(
        metavar="SET", help="Show these ranks only, such as 0 or 0,4-7.", rich_help_panel=group
    )


Run = Annotated[str | None, run_argument("latest")]
ActiveRun = Annotated[str | None, run_argument("the active one")]
Rank = Annotated[str | None, rank_option("Options")]
Inventory = Annotated[
    str | None,
    _where(
        "--inventory",
        "-i",
        metavar="FILE",
        help="Inventory of the hosts, or a hostfile; NAME:SOURCE for a named format.  "
        "[default: $ORCH_INVENTORY, else hosts.yaml]",
    ),
]
HostList = Annotated[
    str | None,
    _where(
        "--hosts",
        "-H",
        metavar="HOST:N,...",
        help="These hosts, with N ranks each, instead of an inventory.",
    ),
]
Nodes = Annotated[
    str | None,
    _where(
        metavar="SEL",
        help="Only these hosts, such as 'gpu[0-3],node7'; spares may be named too.",
        autocompletion=complete.nodes,
    ),
]
Exclude = Annotated[
    str | None,
    _where(
        metavar="SEL",
        help="All hosts but these; or, as for DeepSpeed, GPUs: 'node0:1@node2'.",
        autocompletion=complete.nodes,
    ),
]
NodesOfRun = Annotated[
    str | None,
    typer.Option(
        metavar="SEL",
        help="Only these nodes, such as 'gpu[0-3],node7'.",
        autocompletion=complete.nodes_of_run,
    ),
]
Timestamps = Annotated[
    bool,
    _display("--timestamps", help="Start each line with its local time (TZ=UTC: in UTC)."),
]
Output = Annotated[
    Literal["text", "json", "raw"],
    _display(help="text: prefixed lines; json: one object a line; raw: the bytes as printed."),
]
TextOrJson = Literal["text", "json"]


@dataclass(frozen=True)
class Connection:
    """Where the hosts are, and how to reach them."""

    hosts: Inventory = None
    host_list: HostList = None
    local: Annotated[
        int | None,
        _where(
            metavar="N",
            min=1,
            max=64,
            help="N nodes embedded in this machine, instead of an inventory.",
        ),
    ] = None
    python: Annotated[
        str | None,
        _where(
            metavar="PATH",
            help="Python on the nodes.  [default: the inventory's, else python3]",
        ),
    ] = None
    transport: Annotated[
        str | None,
        _more(
            metavar="NAME",
            help="How to reach the hosts.  [default: the inventory's, else ssh]",
            autocompletion=complete.transports,
        ),
    ] = None
    accept_new: Annotated[
        bool,
        _more(
            "--accept-new",
            help="Trust and store host keys seen for the first time; never a changed one.",
        ),
    ] = False
    connect_timeout: Annotated[
        str | None,
        _more(
            metavar="TIME",
            help="Limit for reaching a node, from name to login.  [default: ConnectTimeout, or 10s]",
        ),
    ] = None


@dataclass(frozen=True)
class Hosts(Connection):
    """Which hosts, and how to reach them."""

    nodes: Nodes = None
    exclude: Exclude = None


@dataclass(frozen=True)
class Job:
    """What runs on the hosts."""

    nproc: Annotated[
        str | None,
        _what(
            metavar="N|HOSTS=N,...",
            help="Ranks per node, or of some; auto, gpu: one per GPU; cpu, cpu:4: without GPUs.  "
            "[default: the inventory's]",
        ),
    ] = None
    include: Annotated[
        str | None,
        _where(
            metavar="HOST:GPU,...@...",
            help="Only these hosts and GPUs, in DeepSpeed's words, such as 'node0:0,2@node1'.",
        ),
    ] = None
    launcher: Annotated[
        str | None,
        _what(
            metavar="NAME",
            help="What starts the ranks: see Launchers.  [default: the inventory's]",
            autocompletion=complete.launchers,
        ),
    ] = None
    module: Annotated[
        bool, _what("--module", "-m", help="SCRIPT is a module, as in `python -m`.")
    ] = False
    no_python: Annotated[
        bool,
        _what(
            "--no-python",
            help="SCRIPT is a program, run without Python; implied for executable files.",
        ),
    ] = False
    env: Annotated[
        list[str] | None,
        _what(
            "--env",
            "-e",
            metavar="K=V",
            help="Set a variable for the ranks; K alone takes it from here. Repeatable.",
        ),
    ] = None
    env_file: Annotated[
        Path | None,
        _what(
            metavar="FILE", help="Set the variables in FILE (K=V lines); their values stay hidden."
        ),
    ] = None
    sync: Annotated[
        Path | None,
        _files(
            metavar="DIR",
            help="Copy this folder to the nodes.  [default: the current one if SCRIPT is in it, "
            "else SCRIPT's]",
        ),
    ] = None
    no_sync: Annotated[
        bool, _files("--no-sync", help="Copy nothing: SCRIPT is on the nodes already.")
    ] = False
    workdir: Annotated[
        str | None,
        _files(
            metavar="DIR",
            help="Working folder on the nodes, from their home.  [default: the inventory's, else "
            "~/orch/PROJECT]",
        ),
    ] = None
    main_address: Annotated[
        str | None,
        _more(
            metavar="ADDRESS",
            help="Where the ranks meet.  [default: main's address on the subnet of all nodes]",
        ),
    ] = None
    main_port: Annotated[
        str | None,
        _more(
            metavar="PORT|auto",
            help="The port there.  [default: 29500, or a free one if that is taken]",
        ),
    ] = None


def given(*groups: object) -> Any:
    """Return the options that were given, by name, as the use cases take them. Raises UsageError."""
    options = {
        name: value for group in groups for name, value in vars(group).items() if value is not None
    }
    source = inventory_of(options.pop("hosts", None), options.pop("host_list", None))
    return options if source is None else {**options, "hosts": source}


def inventory_of(inventory: str | None, host_list: str | None) -> str | None:
    """Return what `-i` or `-H` names, as `-i` takes it. Raises UsageError if both are given."""
    if host_list is None:
        return inventory
    if inventory is not None:
        from orchestrator.errors import UsageError

        raise UsageError("-H and -i exclude each other")
    return f"hosts:{host_list}"


def show_format(text: str) -> None:
    """Say in which format an inventory was read, if not in orch's own."""
    from orchestrator.ui.stderr import Stderr

    Stderr().line(text)
