"""The names that options accept: runs, hosts, launchers, transports, checks. All may raise OrchError."""

from __future__ import annotations

from os import PathLike


def run_names() -> list[str]:
    """Return the names of all runs."""
    from orchestrator.runs.folder import runs_folder

    try:
        return sorted(folder.name for folder in runs_folder().iterdir())
    except OSError:
        return []


def host_names(inventory: str | PathLike[str] | None) -> list[str]:
    """Return the hosts of an inventory (None: the default one) and its groups, as `@group`."""
    from orchestrator.api.hosts import read_hosts

    found = read_hosts(inventory)
    groups = (f"@{group.name}" for group in found.groups)
    return [*(host.name for host in (*found.hosts, *found.spares)), *groups]


def node_names(run: str | None) -> list[str]:
    """Return the nodes of a run; None: of the latest."""
    from orchestrator.runs.registry import find_run

    return [node.name for node in find_run(run).nodes]


def launchers() -> tuple[dict[str, str], str]:
    """Return what each launcher starts, by name, and the name of the default."""
    from orchestrator.plan.launchers import registry

    return {each.name: each.help for each in registry.all_launchers()}, registry.DEFAULT


def profile_names() -> list[str]:
    """Return the profiles in the file of defaults."""
    from orchestrator.api.defaults.read import read_defaults

    return [*read_defaults("").profiles]


def transport_names() -> list[str]:
    """Return the transports that `--transport` takes."""
    from orchestrator.remote.transports import names

    return names()


def check_names() -> list[str]:
    """Return the groups of checks and the preflight checks, in the order in which they run."""
    from orchestrator.preflight.registry import all_checks

    ids = [check.id for check in all_checks()]
    return list(dict.fromkeys([*(each.partition(".")[0] for each in ids), *ids]))
