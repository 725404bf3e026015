"""Select nodes of an inventory: `--nodes` and `--exclude`."""

from __future__ import annotations

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.ranges import MAX_HOSTS, expand, fold, split_expression
from orchestrator.util.text import first_few, nearest, quoted

_MAX_SHOWN = 5


def select(inventory: Inventory, nodes: str | None = None, exclude: str | None = None) -> Inventory:
    """Return `inventory` with the hosts of `nodes` (None: all) without those of `exclude`.

    Both are host range expressions such as `node[0-3,7],gpu-a`, in which `@NAME` is a group. Hosts keep
    the inventory's order. A spare that `nodes` names becomes a host, after the others; other spares stay
    spares. Raises InventoryError if an expression is malformed or names a host or group that the inventory
    lacks, or if no host is left.
    """
    wanted = _names(inventory, "--nodes", nodes) if nodes is not None else None
    unwanted = _names(inventory, "--exclude", exclude) if exclude is not None else set()
    rest = [host for host in inventory.hosts + inventory.spares if host.name not in unwanted]
    left = tuple(
        host.model_copy(update={"spare": False})
        for host in rest
        if (not host.spare if wanted is None else host.name in wanted)
    )
    if not left:
        raise InventoryError("no node is left to run on", remedy="exclude fewer, or select others")
    names = {host.name for host in left}
    spares = tuple(host for host in rest if host.spare and host.name not in names)
    return inventory.model_copy(update={"hosts": left, "spares": spares})


def _names(inventory: Inventory, option: str, expression: str) -> set[str]:
    known = [host.name for host in inventory.hosts + inventory.spares]
    present = set(known)
    groups = {f"@{group.name}": group.hosts for group in inventory.groups}
    names: list[str] = []
    try:
        for part in split_expression(expression):
            if not part.startswith("@"):
                names += expand(part, MAX_HOSTS - len(names))
            elif part in groups:
                names += (name for name in groups[part] if name in present)
            else:
                raise InventoryError(
                    f"{option}: the inventory has no group {_suggest(part, list(groups))}",
                    remedy=f"it has {', '.join(groups) or 'no groups'}",
                )
    except ValueError as error:
        raise InventoryError(f"{option} {quoted(expression)}: {error}") from None
    if not names:
        raise InventoryError(
            f"{option} {quoted(expression)}: expected host names, as in node[0-3,7],gpu-a"
        )
    unknown = [name for name in dict.fromkeys(names) if name not in present]
    if unknown:
        unknown[:_MAX_SHOWN] = [_suggest(name, known) for name in unknown[:_MAX_SHOWN]]
        raise InventoryError(
            f"{option}: the inventory has no {first_few(unknown, _MAX_SHOWN)}",
            remedy=f"it has {fold(known)}",
        )
    return set(names)


def _suggest(name: str, known: list[str]) -> str:
    meant = nearest(name, known)
    return f"{quoted(name)} (did you mean {meant!r}?)" if meant else quoted(name)
