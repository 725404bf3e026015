"""Some of the nodes: what `--nodes` and `--exclude` leave of an inventory."""

from __future__ import annotations

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.problems import nearest, quoted
from orchestrator.inventory.ranges import MOST_HOSTS, expand, fold, words_of

_MOST_SHOWN = 5


def select(inventory: Inventory, nodes: str | None = None, exclude: str | None = None) -> Inventory:
    """Return `inventory` with the hosts of `nodes` (None: all) without those of `exclude`.

    Both are host range expressions such as `node[0-3,7],gpu-a`, in which `@NAME` is a group. Hosts keep
    the inventory's order; a spare that `nodes` names is wanted, and no spare any more: it comes after
    them. Other spares stay. Raises InventoryError when an expression is malformed, has a name or a
    group that the inventory lacks, or when no host is left.
    """
    wanted = _names(inventory, "--nodes", nodes) if nodes is not None else None
    unwanted = _names(inventory, "--exclude", exclude) if exclude is not None else set()
    every = [host for host in _every(inventory) if host.name not in unwanted]
    left = tuple(
        host.model_copy(update={"spare": False})
        for host in every
        if (not host.spare if wanted is None else host.name in wanted)
    )
    if not left:
        raise InventoryError("no node is left to run on", remedy="exclude fewer, or select others")
    names = {host.name for host in left}
    spares = tuple(host for host in every if host.spare and host.name not in names)
    return inventory.model_copy(update={"hosts": left, "spares": spares})


def _every(inventory: Inventory) -> tuple[Host, ...]:
    return inventory.hosts + inventory.spares


def _names(inventory: Inventory, option: str, expression: str) -> set[str]:
    known = [host.name for host in _every(inventory)]
    present = set(known)
    names: list[str] = []
    try:
        for word in words_of(expression):
            if word.startswith("@"):
                names += (name for name in _group(inventory, option, word) if name in present)
            else:
                names += expand(word, MOST_HOSTS - len(names))
    except ValueError as error:
        raise InventoryError(f"{option} {quoted(expression)}: {error}") from None
    if not names:
        raise InventoryError(
            f"{option} {quoted(expression)}: expected host names, as in node[0-3,7],gpu-a"
        )
    unknown = [name for name in dict.fromkeys(names) if name not in present]
    if unknown:
        told = ", ".join(_told(name, known) for name in unknown[:_MOST_SHOWN])
        more = f" and {len(unknown) - _MOST_SHOWN} more" if len(unknown) > _MOST_SHOWN else ""
        raise InventoryError(
            f"{option}: the inventory has no {told}{more}", remedy=f"it has {fold(known)}"
        )
    return set(names)


def _group(inventory: Inventory, option: str, word: str) -> tuple[str, ...]:
    """Return the names of the hosts of the group `@NAME`."""
    groups = {f"@{group.name}": group.hosts for group in inventory.groups}
    if word not in groups:
        raise InventoryError(
            f"{option}: the inventory has no group {_told(word, list(groups))}",
            remedy=f"it has {', '.join(groups) or 'no groups'}",
        )
    return groups[word]


def _told(name: str, known: list[str]) -> str:
    meant = nearest(name, known)
    return f"{quoted(name)} (did you mean {meant!r}?)" if meant else quoted(name)
