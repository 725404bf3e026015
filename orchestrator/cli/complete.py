"""What a shell may complete a word to; Typer keeps what begins with that word.

If there is nothing to read names from, or it has faults, the command itself will report that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from orchestrator.errors import OrchError


def _found(names: Callable[[], list[str]]) -> list[str]:
    try:
        return names()
    except OrchError:
        return []


def runs() -> list[str]:
    """Return the names of runs."""
    from orchestrator.api.names import run_names

    return run_names()


def runs_and_files(incomplete: str) -> list[str]:
    """Return the names of runs, and the files that `incomplete` may become."""
    typed = Path(f"{incomplete}_")  # keeps a slash at its end
    folder, prefix = typed.parent, typed.name[:-1]
    try:
        found = sorted(path for path in folder.iterdir() if path.name.startswith(prefix))
    except OSError:
        found = []
    shown = [path for path in found if prefix or not path.name.startswith(".")]
    before = incomplete.removesuffix(prefix)
    return runs() + [f"{before}{path.name}{'/' if path.is_dir() else ''}" for path in shown]


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the lists of hosts of the inventory that `incomplete` may become."""
    from orchestrator.api.names import host_names

    hosts = ctx.params.get("host_list")
    source = ctx.params.get("hosts") if hosts is None else f"hosts:{hosts}"
    return _in_list(incomplete, _found(lambda: host_names(source)))


def nodes_of_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the lists of a run's nodes that `incomplete` may become."""
    from orchestrator.api.names import node_names

    # Words before an option without a value are not read as arguments yet.
    run = ctx.params.get("run") or next(iter(ctx.args), None)
    return _in_list(incomplete, _found(lambda: node_names(run)))


def launchers() -> list[tuple[str, str]]:
    """Return the launchers, each with what it starts."""
    from orchestrator.api.names import launchers

    return list(launchers()[0].items())


def profiles() -> list[str]:
    """Return the profiles in the file of defaults."""
    from orchestrator.api.names import profile_names

    return _found(profile_names)


def transports() -> list[str]:
    """Return the transports."""
    from orchestrator.api.names import transport_names

    return transport_names()


def checks(incomplete: str) -> list[str]:
    """Return the lists of checks, and of groups of them, that `incomplete` may become."""
    from orchestrator.api.names import check_names

    return _in_list(incomplete, check_names())


def _in_list(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return what a list with commas may become, without repeating a name."""
    before, comma, last = incomplete.rpartition(",")
    listed = before.split(",")
    return [
        f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in listed
    ]
