"""Options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli import values


def names_of_runs(incomplete: str) -> list[str]:
    """Return the names of runs that a shell may complete `incomplete` to."""
    from orchestrator.runs.folder import runs_folder

    try:
        folders = sorted(runs_folder().iterdir())
    except OSError:
        return []
    return [folder.name for folder in folders if folder.name.startswith(incomplete)]


Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="The run's name, a beginning that no other has, or latest.  [default: latest]",
        show_default=False,
        autocompletion=names_of_runs,
    ),
]
Inventory = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        "-i",
        metavar="FILE",
        help="The hosts.  [default: $ORCH_INVENTORY, else hosts.yaml]",
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
    ),
]
Exclude = Annotated[str | None, typer.Option(metavar="SEL", help="All hosts but these.")]
Output = Annotated[
    Literal["text", "json", "raw"],
    typer.Option(help="text: prefixed lines; json: one object a line; raw: the bytes as they are."),
]
Rank = Annotated[
    str | None, typer.Option(metavar="SET", help="Show these ranks only, such as 0 or 0,4-7.")
]
Timestamps = Annotated[
    bool, typer.Option("--timestamps", help="Begin each line with its time (UTC).")
]
AcceptNew = Annotated[
    bool,
    typer.Option(
        "--accept-new",
        help="Trust and remember hosts seen for the first time; never a changed key.",
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
        help="torchrun; fabric (Lightning's `fabric run`); python (one process a node, for scripts "
        "that launch themselves); direct (orch starts every rank).  [default: the inventory's, else "
        "torchrun]",
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
        metavar="DIR", help="Copy this folder to the nodes.  [default: the script's folder]"
    ),
]
NoSync = Annotated[
    bool, typer.Option("--no-sync", help="Copy nothing: SCRIPT is on the nodes already.")
]
