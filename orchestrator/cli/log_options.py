"""`-v` and `--log-file`: what orch does, in detail. Every command has them, and `orch` in front of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

_VERBOSITY, _FILE = "orchestrator.verbosity", "orchestrator.log_file"


def note_verbosity(context: typer.Context, value: int) -> int:
    """Add what was typed here to what was typed in front of the command."""
    context.meta[_VERBOSITY] = context.meta.get(_VERBOSITY, 0) + value
    return value


def note_log_file(context: typer.Context, value: Path | None) -> Path | None:
    """Remember the file; the last one that is named counts."""
    if value is not None:
        context.meta[_FILE] = value
    return value


Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        callback=note_verbosity,
        expose_value=False,
        show_default=False,
        help="Log to stderr what orch does: connections, attempts, decisions. -vv: every step.",
    ),
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        callback=note_log_file,
        expose_value=False,
        help="Append every step to FILE, as with -vv; the terminal stays as it is.",
    ),
]


def _declare(verbose: Verbose = 0, log_file: LogFile = None) -> None:
    """The options of a log, for Typer to read."""


@cache
def log_options() -> list[Any]:
    """Return both options, as Typer makes them of their declarations."""
    declared = typer.Typer(add_completion=False)
    declared.command()(_declare)
    return get_command(declared).params


class Command(TyperCommand):
    """A command that has these options, and logs as they say."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        own = {name for parameter in self.params for name in parameter.opts}
        self.params += [each for each in log_options() if own.isdisjoint(each.opts)]

    def invoke(self, ctx: Any) -> Any:
        verbosity, file = ctx.meta.get(_VERBOSITY, 0), ctx.meta.get(_FILE)
        if verbosity or file is not None:
            from orchestrator.ui.log import log_to_file, log_to_stderr

            if verbosity:
                log_to_stderr(verbosity)
            if file is not None:
                log_to_file(file)
        return super().invoke(ctx)
