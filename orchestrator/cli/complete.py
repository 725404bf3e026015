"""What a shell may complete a word to: names of runs, nodes, launchers and checks.

Whatever is wrong (no inventory, one with faults) is told by the command itself; here there is nothing to
complete.
"""

from __future__ import annotations

from collections.abc import Iterable

import typer

from orchestrator.errors import OrchError


def runs(incomplete: str) -> list[str]:
    """Return the names of runs that `incomplete` may become."""
    from orchestrator.runs.folder import runs_folder

    try:
        folders = sorted(runs_folder().iterdir())
    except OSError:
        return []
    return [folder.name for folder in folders if folder.name.startswith(incomplete)]


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the lists of hosts of the inventory that `incomplete` may become."""
    from orchestrator.api.hosts import usual_inventory
    from orchestrator.inventory import load

    try:
        inventory = load(ctx.params.get("inventory") or usual_inventory())
    except OrchError:
        return []
    groups = (f"@{group.name}" for group in inventory.groups)
    hosts = (host.name for host in (*inventory.hosts, *inventory.spares))
    return _in_list(incomplete, (*hosts, *groups))


def nodes_of_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the lists of a run's nodes that `incomplete` may become."""
    from orchestrator.runs.registry import find_run

    # The words before an option that has no value yet are not read as arguments.
    run = ctx.params.get("run") or next(iter(ctx.args), None)
    try:
        saved = find_run(run)
    except OrchError:
        return []
    return _in_list(incomplete, (node.name for node in saved.nodes))


def launchers(incomplete: str) -> list[tuple[str, str]]:
    """Return the launchers that `incomplete` may become, each with what it starts."""
    from orchestrator.plan.launchers.registry import all_launchers

    return [(each.name, each.help) for each in all_launchers() if each.name.startswith(incomplete)]


def transports(incomplete: str) -> list[str]:
    """Return the transports that `incomplete` may become."""
    from orchestrator.remote.transports import names

    return [name for name in names() if name.startswith(incomplete)]


def checks(incomplete: str) -> list[str]:
    """Return the lists of checks, and of groups of them, that `incomplete` may become."""
    from orchestrator.preflight.registry import all_checks

    ids = [check.id for check in all_checks()]
    return _in_list(incomplete, dict.fromkeys([*(each.partition(".")[0] for each in ids), *ids]))


def _in_list(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return what a list with commas may become, none of its names twice."""
    before, comma, last = incomplete.rpartition(",")
    there = before.split(",")
    return [
        f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in there
    ]
