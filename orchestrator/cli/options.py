"""Options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.api import values
from orchestrator.cli import complete

RUN_HELP = (
    "The run: its name, enough letters of it (or of its last part) to tell it apart, or latest."
)

LAUNCHERS = "What starts the ranks."
"""The help of --launcher; the help of a command lists the launchers in its place (`launcher_help.py`)."""


def say_format(text: str) -> None:
    """Say what an inventory was taken for that is not in orch's own format."""
    from orchestrator.ui.stderr import Stderr

    Stderr().line(text)


def run_argument(default: str) -> Any:
    """Return the argument RUN of a command that, without one, means the run that `default` says."""
    return typer.Argument(
        metavar="RUN",
        help=f"{RUN_HELP}  [default: {default}]",
        show_default=False,
        autocompletion=complete.runs,
    )


Run = Annotated[str | None, run_argument("latest")]
ActiveRun = Annotated[str | None, run_argument("the active one")]
Inventory = Annotated[
    str | None,
    typer.Option(
        "--inventory",
        "-i",
        metavar="FILE",
        help="The hosts: a file, or NAME:SOURCE in the format NAME of a plug-in.  "
        "[default: $ORCH_INVENTORY, else hosts.yaml]",
    ),
]
Local = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=64,
        help="No inventory: N nodes on this machine, through SSH all the same.",
    ),
]
Nodes = Annotated[
    str | None,
    typer.Option(
        metavar="SEL",
        help="Only these hosts, such as 'gpu[0-3],node7'; a spare that it names is an ordinary host.",
        autocompletion=complete.nodes,
    ),
]
Exclude = Annotated[
    str | None,
    typer.Option(metavar="SEL", help="All hosts but these.", autocompletion=complete.nodes),
]
NodesOfRun = Annotated[
    str | None,
    typer.Option(
        metavar="SEL",
        help="Only these nodes, such as 'gpu[0-3],node7'.",
        autocompletion=complete.nodes_of_run,
    ),
]
Output = Annotated[
    Literal["text", "json", "raw"],
    typer.Option(help="text: prefixed lines; json: one object a line; raw: the bytes as they are."),
]
Rank = Annotated[
    str | None, typer.Option(metavar="SET", help="Show these ranks only, such as 0 or 0,4-7.")
]
Timestamps = Annotated[
    bool, typer.Option("--timestamps", help="Begin each line with its local time (TZ=UTC: in UTC).")
]
AcceptNew = Annotated[
    bool,
    typer.Option(
        "--accept-new",
        help="Trust and remember hosts seen for the first time; never a changed key.",
    ),
]
Transport = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="How to reach the hosts: ssh, or what an installed package adds.",
        autocompletion=complete.transports,
    ),
]
ConnectTimeout = Annotated[
    float,
    typer.Option(
        metavar="TIME",
        parser=values.seconds("--connect-timeout", 0.1),
        help="For reaching a node, from name to log-in.",
    ),
]
Nproc = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Ranks a node: a number, or auto (its GPUs, else 1).  [default: the inventory's]",
    ),
]
Launcher = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=LAUNCHERS,
        autocompletion=complete.launchers,
    ),
]
MainAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where the ranks meet.  [default: main's address on the subnet that all nodes share]",
    ),
]
MainPort = Annotated[
    str | None,
    typer.Option(
        metavar="PORT|auto",
        help="The port there.  [default: 29500, or a free one if it is taken]",
    ),
]
Module = Annotated[
    bool, typer.Option("--module", "-m", help="SCRIPT is a module, as in `python -m`.")
]
NoPython = Annotated[
    bool,
    typer.Option(
        "--no-python",
        help="SCRIPT is a program that runs as it is: a file, or a name in the nodes' PATH. A shell script "
        "or other executable file is known as one without this.",
    ),
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="K=V",
        help="Set a variable for the ranks; K alone takes it from here. Repeatable.",
    ),
]
EnvFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Set the variables in FILE (K=V lines); their values are never shown.",
    ),
]
Sync = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Copy this folder to the nodes.  [default: the current one if it has the script, else the "
        "script's]",
    ),
]
Workdir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="The working folder on the nodes; a relative one begins at home.  [default: the inventory's, "
        "else ~/orch/NAME, the project's own]",
    ),
]
NoSync = Annotated[
    bool, typer.Option("--no-sync", help="Copy nothing: SCRIPT is on the nodes already.")
]
