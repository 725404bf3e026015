"""`orch prepare`: bare machines are made ready for a launch."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.provision.hosts import Hosts

NEEDS = "fabric>=3.2"  # the extra `prepare`


def prepare(
    inventory: options.Inventory = None,
    nodes: options.Nodes = None,
    exclude: options.Exclude = None,
    torch: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Exactly this torch.  [default: any that is there]"),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where torch comes from.  [default: PyPI; for nodes without a GPU PyTorch's CPU builds]",
        ),
    ] = None,
    python: Annotated[
        str,
        typer.Option(metavar="BASE", help="The nodes' Python to make virtual environments with."),
    ] = "python3",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; begin.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look, and say what would run.")
    ] = False,
) -> None:
    """Install on every node what a launch needs and it lacks.

    That is rsync, a virtual environment, and torch. Looks at the nodes, says which commands would run
    where, and asks before it runs them. Where
    `python:` in the inventory is DIR/bin/python and DIR is not there, a virtual environment is made in
    it, and torch goes there; a Python of the system is left as it is. System packages are installed as
    root, or with sudo where that asks for no password.

    Host keys are checked; one that is not known is refused. Exits with 0 when all nodes are ready (with
    --dry-run: can be made so), 1 when one is not. Needs Fabric, which
    the extra `prepare` brings.

    \b
    Examples:
      orch prepare
      orch prepare --dry-run --nodes 'gpu[0-3]'
      orch prepare --yes --torch 2.13.0
    """
    import signal

    from orchestrator.api.hosts import read_hosts
    from orchestrator.cli.options import say_format
    from orchestrator.errors import UsageError
    from orchestrator.inventory import select
    from orchestrator.ui.stderr import Stderr

    found = select(read_hosts(inventory, say_format), nodes, exclude)
    try:
        from orchestrator.provision.hosts import Hosts
        from orchestrator.provision.steps import Requirements
    except ModuleNotFoundError as error:
        raise UsageError(
            f"orch prepare needs Fabric, and there is no {error.name}", remedy=_installation()
        ) from None
    hosts = Hosts(found.hosts + found.spares, Requirements(torch, python, index))
    try:
        is_ready = _prepare(hosts, found.source, yes=yes, dry_run=dry_run)
    except KeyboardInterrupt:
        Stderr().line("interrupted; a command that had begun on a node may go on there", "red")
        sys.exit(128 + signal.SIGINT)
    finally:
        hosts.close()
    sys.exit(0 if is_ready else 1)


def _prepare(hosts: Hosts, source: Path | str, *, yes: bool, dry_run: bool) -> bool:
    """Report on the hosts and install what they lack, once somebody has agreed; tell whether all are ready
    (on a dry run: could be made so).
    """
    from orchestrator.inventory.ranges import fold
    from orchestrator.provision.steps import VENV
    from orchestrator.ui.prepare import other_python, report
    from orchestrator.ui.stderr import Stderr

    say, width = Stderr().line, max(40, shutil.get_terminal_size().columns)
    states = hosts.inspect(say)
    _print(report(states, width))
    if any(state.needs_other_python for state in states):
        _print("\n" + other_python(source, VENV, width))
    todo = [state for state in states if state.todo]
    is_blocked = any(state.problem for state in states)
    if not todo or dry_run:
        return not is_blocked
    if not yes and not _agreed(fold(state.host.name for state in todo)):
        say("nothing was run")
        return False
    after = hosts.run_steps(todo, say)
    _print(report(after, width))
    return not is_blocked and all(state.is_ready for state in after)


def _agreed(names: str) -> bool:
    """Ask whether to begin. Raises UsageError where nobody can be asked."""
    from orchestrator.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError(
            f"nothing was run: nobody can be asked here whether to run this on {names}",
            remedy="--yes runs it unasked, --dry-run only says what would run",
        )
    return typer.confirm(f"orch: run these commands on {names}?", err=True)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _installation() -> str:
    """Return the line that brings Fabric to where orch is installed."""
    from importlib.util import find_spec

    from orchestrator.util.quoting import line_to_paste

    pip = [sys.executable, "-m", "pip", "install"]
    if find_spec("pip") is None:  # uv makes its environments without
        pip = ["uv", "pip", "install", "--python", sys.executable]
    return line_to_paste([*pip, NEEDS])
