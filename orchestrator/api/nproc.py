"""The value of --nproc: ranks of every node, or of some: `8`, `gpu[0-3]=8,node1=4`, `2,node0=4`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.errors import UsageError
from orchestrator.inventory import Inventory
from orchestrator.inventory.devices import parse_ranks
from orchestrator.inventory.ranges import split_expression
from orchestrator.inventory.select import names_of
from orchestrator.plan import Job
from orchestrator.util.text import printable, quoted

_OPTION = "--nproc"


@dataclass(frozen=True)
class Nproc:
    """The ranks of all nodes (None: as in the inventory), and those of the hosts of some expressions."""

    everywhere: int | str | None = None
    by_hosts: tuple[tuple[str, int | str], ...] = ()


def parse_nproc(given: int | str | None) -> Nproc:
    """Return what --nproc says. Raises UsageError if it is malformed."""
    everywhere, by_hosts = [], []
    shown = f"{_OPTION} {printable(str(given))}"
    for part in split_expression(str(given)) or [""] if given is not None else []:
        hosts, equals, number = part.rpartition("=")
        try:
            ranks = parse_ranks(number)
        except ValueError as error:
            raise UsageError(
                f"{shown}: {error}; found {quoted(number)}",
                remedy=f"{_OPTION} 8 for all nodes, {_OPTION} node0=8,node1=4 for each of them",
            ) from None
        if equals:
            by_hosts.append((hosts, ranks))
        else:
            everywhere.append(ranks)
    if len(everywhere) > 1:
        raise UsageError(
            f"{shown}: {len(everywhere)} numbers for all nodes",
            remedy=f"name the hosts: {_OPTION} node0=8,node1=4",
        )
    return Nproc(everywhere[0] if everywhere else None, tuple(by_hosts))


def with_nproc(job: Job, nproc: Nproc, inventory: Inventory) -> Job:
    """Return `job` with these numbers of ranks.

    Raises UsageError for a host that takes no part, or that is given twice.
    """
    by_node: dict[str, int | str] = {}
    for hosts, ranks in nproc.by_hosts:
        names = names_of(inventory, _OPTION, hosts, "this launch")
        twice = sorted(names & by_node.keys())
        if twice:
            raise UsageError(f"{_OPTION}: {twice[0]} is given twice")
        by_node.update(dict.fromkeys(names, ranks))
    return replace(job, devices=nproc.everywhere, devices_by_node=by_node)
