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
from orchestrator.cli.command import Command, LogFile, Verbose, with_groups
from orchestrator.cli.commands import Commands
from orchestrator.cli.config import config
from orchestrator.cli.controller import control
from orchestrator.cli.diagnose import diagnose
from orchestrator.cli.exec import execute
from orchestrator.cli.fetch import fetch
from orchestrator.cli.init import init
from orchestrator.cli.launch import launch
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
    help="""Launch a PyTorch training script on every machine you can reach over SSH.

    \b
    Examples:
      orch launch --local 2 train.py          two nodes, on this machine alone
      orch init node0 node1                   an inventory, hosts.yaml
      orch preflight                          what is missing on its nodes
      orch launch train.py --epochs 10        on all of them
    """,
)

# Options after the script, or the command, are not orch's.
_PASSTHROUGH = {"allow_interspersed_args": False, "ignore_unknown_options": False}
_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Launch": (launch, preflight),
    "Inspect": (runs, status, logs, attach, stacks, diagnose),
    "Manage": (stop, fetch, push, execute, ssh),
    "Set up": (init, nodes, prepare, config),
    "": (control,),
}
for _group, _functions in _COMMANDS.items():
    for _function in _functions:
        app.command(
            "exec" if _function is execute else None,
            cls=ScriptCommand if _function is launch else Command,
            context_settings=_PASSTHROUGH if _function in (launch, execute, ssh) else None,
            rich_help_panel=_group,
            hidden=not _group,
        )(with_groups(_function))


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
    """Run the command line; errors become text and an exit code, never a traceback."""
    try:
        _run_command()
    except OutputError as error:
        discard_output(1)  # otherwise Python tries again to write its buffer when it ends
        _fail(str(error), error.exit_code)
    except OrchError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of the output has ended, as `| head` does
        discard_output(1)
        sys.exit(128 + signal.SIGPIPE)
    except MemoryError:
        _fail("this machine has no memory left for orch", LaunchError.exit_code)
    except OSError as error:
        # Without a text it is a bug; else this machine refuses something: a full disk, permissions.
        _fail(_bug(error) if error.strerror is None else _refusal(error), LaunchError.exit_code)
    except Exception as error:
        _fail(_bug(error), LaunchError.exit_code)


def _run_command() -> None:
    """Run the command that was typed, write all of its output, and exit as it does."""
    command = get_command(app)
    for parameter in command.params:
        if parameter.name == "install_completion" and parameter.callback is not None:
            parameter.callback = partial(_install_completion, parameter.callback)
    try:
        command()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # Typer exits with 1 instead
            raise ended.__context__ from None
        sys.stdout.flush()
        raise


def _install_completion(install: Callable[..., Any], *words: Any) -> Any:
    """Have Typer write to the shell's start-up file. Raises OrchError if it cannot."""
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


def _refusal(error: OSError) -> str:
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{where}{error.strerror}\n  → {_report('what orch was doing')}"


def _bug(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return f"this is a bug in orch: {text}\n  → {_report('please report it with')}"


def _report(what: str) -> str:
    """Write the traceback of the current exception to a file, and return where it is."""
    from orchestrator.api.crash_report import write_crash_report

    try:
        return f"{what}: {write_crash_report()}"
    except OSError as error:
        return f"{what}; the details could not be written: {error.strerror}"
