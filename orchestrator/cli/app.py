"""The commands of `orch`; each has a file of its own and imports what it needs when it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from orchestrator.cli.attach import attach
from orchestrator.cli.commands import Commands
from orchestrator.cli.controller import control
from orchestrator.cli.diagnose import diagnose
from orchestrator.cli.exec import execute
from orchestrator.cli.fetch import fetch
from orchestrator.cli.init import init
from orchestrator.cli.launch import launch
from orchestrator.cli.launcher_help import LauncherCommand
from orchestrator.cli.log_options import Command, LogFile, Verbose
from orchestrator.cli.logs import logs
from orchestrator.cli.nodes import nodes
from orchestrator.cli.preflight import preflight
from orchestrator.cli.prepare import prepare
from orchestrator.cli.push import push
from orchestrator.cli.runs import runs
from orchestrator.cli.script_words import ScriptCommand
from orchestrator.cli.ssh import ssh
from orchestrator.cli.stacks import stacks
from orchestrator.cli.status import status
from orchestrator.cli.stop import stop
from orchestrator.errors import LaunchError, OrchError, OutputError
from orchestrator.util.process import discard_output

app = typer.Typer(
    name="orch",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One command launches a PyTorch training script on every machine you can reach over SSH.",
    epilog="Try it on this machine alone: orch launch --local 2 train.py",
)

# Options of the script, or of the command, come after it: they are not ours to read.
_PASSTHROUGH = {"allow_interspersed_args": False, "ignore_unknown_options": False}
app.command(cls=ScriptCommand, context_settings=_PASSTHROUGH)(launch)
app.command(cls=Command)(runs)
app.command(cls=Command)(status)
app.command(cls=Command)(stacks)
app.command(cls=Command)(logs)
app.command(cls=Command)(diagnose)
app.command(cls=Command)(attach)
app.command(cls=Command)(stop)
app.command(cls=Command)(fetch)
app.command(cls=Command)(push)
app.command(cls=LauncherCommand)(preflight)
app.command(cls=Command)(nodes)
app.command("exec", cls=Command, context_settings=_PASSTHROUGH)(execute)
app.command(cls=Command, context_settings=_PASSTHROUGH)(ssh)
app.command(cls=Command)(prepare)
app.command(cls=Command)(init)
app.command(cls=Command, hidden=True)(control)


def _show_version(wanted: bool) -> None:
    if wanted:
        from orchestrator.version import __version__

        typer.echo(f"orch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_show_version,
            is_eager=True,
            help="Show orch's version and exit.",
        ),
    ] = False,
    verbose: Verbose = 0,
    log_file: LogFile = None,
) -> None:
    """Options of `orch` itself."""


def run() -> None:
    """Run the command line; what goes wrong becomes text and an exit code, never a traceback."""
    try:
        _run_command()
    except OutputError as error:
        discard_output(1)  # or Python would try again, as it ends, to write what it holds
        _fail(str(error), error.exit_code)
    except OrchError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `| head` does.
        discard_output(1)
        sys.exit(128 + signal.SIGPIPE)
    except MemoryError:
        _fail("this machine has no memory left for orch", LaunchError.exit_code)
    except OSError as error:
        if error.strerror is None:
            _fail(_bug(error), LaunchError.exit_code)
        _fail(_trouble(error), LaunchError.exit_code)
    except Exception as error:
        _fail(_bug(error), LaunchError.exit_code)


def _run_command() -> None:
    """Run the command that was typed, and write all that it has said; exits as it does."""
    command = get_command(app)
    for parameter in command.params:
        if parameter.name == "install_completion" and parameter.callback is not None:
            parameter.callback = partial(_install_completion, parameter.callback)
    try:
        command()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer has made 1 of it
            raise ended.__context__ from None
        sys.stdout.flush()
        raise


def _install_completion(install: Callable[..., Any], *words: Any) -> Any:
    """Have typer write to the shell's start-up file. Raises OrchError where it cannot."""
    try:
        return install(*words)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename is not None else ""
            why = f"{where}{error.strerror}"
        else:
            why = "the shell's start-up file is not UTF-8"
        raise OrchError(
            f"completion is not installed: {why}",
            remedy="orch --show-completion prints the lines for a file that your shell reads",
        ) from None


def _fail(message: str, exit_code: int) -> NoReturn:
    from orchestrator.ui.stderr import Stderr

    Stderr().line(message, "red")
    sys.exit(exit_code)


def _trouble(error: OSError) -> str:
    """Return what this machine refuses, which is no bug: a full disk, a file that may not be read."""
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{where}{error.strerror}\n  → {_details('what orch was doing')}"


def _bug(error: Exception) -> str:
    return (
        f"this is a bug in orch: {type(error).__name__}: {error}\n"
        f"  → {_details('please report it with')}"
    )


def _details(what: str) -> str:
    """Write the traceback of the current exception to a file of its own, and return where it is."""
    import tempfile
    import traceback

    from orchestrator.plan.masking import masked_text

    text = masked_text(traceback.format_exc())
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="orch-report-", suffix=".txt", delete=False, errors="replace"
        ) as file:
            file.write(text)
    except OSError as error:
        return f"{what}; the details could not be kept: {error.strerror}"
    return f"{what}: {file.name}"
