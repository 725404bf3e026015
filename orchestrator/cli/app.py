"""The commands of `orch`; each has a file of its own and imports what it needs when it is called."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from orchestrator.cli.attach import attach
from orchestrator.cli.diagnose import diagnose
from orchestrator.cli.exec import execute
from orchestrator.cli.init import init
from orchestrator.cli.keep import keep
from orchestrator.cli.launch import launch
from orchestrator.cli.logs import logs
from orchestrator.cli.nodes import nodes
from orchestrator.cli.preflight import preflight
from orchestrator.cli.runs import runs
from orchestrator.cli.stacks import stacks
from orchestrator.cli.status import status
from orchestrator.cli.stop import stop
from orchestrator.errors import LaunchError, OrchError
from orchestrator.process import silence

app = typer.Typer(
    name="orch",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One command launches a PyTorch training script on every machine you can reach over SSH.",
    epilog="Try it on this machine alone: orch launch --local 2 train.py",
)

# Options of the script, or of the command, come after it: they are not ours to read.
_THEIRS = {"allow_interspersed_args": False, "ignore_unknown_options": False}
app.command(context_settings=_THEIRS)(launch)
app.command()(runs)
app.command()(status)
app.command()(stacks)
app.command()(logs)
app.command()(diagnose)
app.command()(attach)
app.command()(stop)
app.command()(preflight)
app.command()(nodes)
app.command("exec", context_settings=_THEIRS)(execute)
app.command()(init)
app.command(hidden=True)(keep)


def _show_version(wanted: bool) -> None:
    if wanted:
        from orchestrator import __version__

        typer.echo(f"orch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show orch's version and exit."
        ),
    ] = False,
) -> None:
    """Options of `orch` itself."""


def run() -> None:
    """Run the command line; what goes wrong becomes text and an exit code, never a traceback."""
    try:
        app()
    except OrchError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        # Whoever read the output has seen enough, as `| head` does. typer has made 1 of it.
        silence(1)
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        _complain(
            f"this is a bug in orch: {type(error).__name__}: {error}\n"
            f"  → please report it with {_keep_traceback()}"
        )
        sys.exit(LaunchError.exit_code)


def _complain(message: str) -> None:
    from orchestrator.ui.message import Stderr

    Stderr().line(message, "red")


def _keep_traceback() -> str:
    """Write the traceback of the current exception to a file of its own and return its path."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="orch-bug-", suffix=".txt", delete=False) as file:
        traceback.print_exc(file=file)
    return file.name
