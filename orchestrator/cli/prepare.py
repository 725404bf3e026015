"""`orch prepare`: make bare hosts ready for a launch."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def prepare(
    inventory: options.Inventory = None,
    host_list: options.HostList = None,
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
            help="Where torch comes from.  [default: PyPI; without a GPU, PyTorch's CPU builds]",
        ),
    ] = None,
    python: Annotated[
        str, typer.Option(metavar="BASE", help="The nodes' Python for virtual environments.")
    ] = "python3",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install without asking.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be installed.")
    ] = False,
) -> None:
    """Install on every node what a launch needs and it lacks.

    \b
    Examples:
      orch prepare
      orch prepare --dry-run --nodes 'gpu[0-3]'
      orch prepare --yes --torch 2.13.0

    That is rsync, a virtual environment, and torch. Examines the nodes, shows the commands that would run
    on each, and asks before it runs them. If `python:` in the inventory is DIR/bin/python and DIR does not
    exist, a virtual environment is made there, and torch is installed in it; a Python of the system is
    never changed. System packages are installed as root, or with sudo if that asks for no password.

    Host keys are checked; an unknown one is refused. Needs Fabric, from the extra `prepare`.

    Exits with 0 if all nodes are ready (with --dry-run: can be made ready), 1 if one is not.
    """
    import shutil
    import signal
    import sys
    from contextlib import closing

    from orchestrator.api.prepare import hosts_to_prepare
    from orchestrator.errors import UsageError
    from orchestrator.inventory.ranges import fold
    from orchestrator.ui.prepare import other_python, report
    from orchestrator.ui.stderr import Stderr

    say, width = Stderr().line, max(40, shutil.get_terminal_size().columns)

    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    hosts, source = hosts_to_prepare(
        options.inventory_of(inventory, host_list), nodes, exclude,
        torch=torch, index=index, python=python, note=options.show_format,
    )  # fmt: skip
    try:
        with closing(hosts):
            states = hosts.inspect(say)
            show(report(states, width))
            if any(state.needs_other_python for state in states):
                show("\n" + other_python(source, width))
            todo = [state for state in states if state.todo]
            is_ready = not any(state.problem for state in states)
            if todo and not dry_run:
                names = fold(state.host.name for state in todo)
                if not yes and not sys.stdin.isatty():
                    raise UsageError(
                        f"nothing was run: there is no terminal to ask whether to run this on {names}",
                        remedy="--yes runs it without asking, --dry-run only shows it",
                    )
                if not yes and not typer.confirm(f"orch: run these commands on {names}?", err=True):
                    say("nothing was run")
                    sys.exit(1)
                after = hosts.run_steps(todo, say)
                show(report(after, width))
                is_ready = is_ready and all(state.is_ready for state in after)
    except KeyboardInterrupt:
        say("interrupted; a command that had begun on a node may continue there", "red")
        sys.exit(128 + signal.SIGINT)
    sys.exit(0 if is_ready else 1)
