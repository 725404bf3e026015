"""The commands of `orch`; each has a file of its own and imports what it needs when it is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from orchestrator.cli.launch import launch
from orchestrator.errors import OrchError

app = typer.Typer(
    name="orch",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One command launches a PyTorch training script on every machine you can reach over SSH.",
    epilog="Try it on this machine alone: orch launch --local 2 train.py",
)

# Options of the script come after the script: they are not ours to read.
app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})(
    launch
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show orch's version and exit.")
    ] = False,
) -> None:
    if version:
        from orchestrator import __version__

        print(f"orch {__version__}")  # noqa: T201
        raise typer.Exit


def run() -> None:
    """Run the command line; errors of orch's own become text and an exit code."""
    try:
        app()
    except OrchError as error:
        text = f"orch: {error}"
        if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            text = f"\x1b[31m{text}\x1b[0m"
        sys.stderr.write(f"{text}\n")
        sys.exit(error.exit_code)
