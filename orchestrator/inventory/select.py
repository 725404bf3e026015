"""Select nodes of an inventory: `--nodes`, `--exclude` and `--include`."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.ranges import MAX_HOSTS, expand, fold, split_expression
from orchestrator.inventory.slots import Slots, included, is_filter, not_excluded, parse_filter
from orchestrator.util.text import first_few, nearest, quoted

_MAX_SHOWN = 5


def select(
    inventory: Inventory,
    nodes: str | None = None,
    exclude: str | None = None,
    include: str | None = None,
) -> Inventory:
    """Return `inventory` with the hosts of `nodes` (None: all) without those of `exclude`.

    Both are host range expressions such as `node[0-3,7],gpu-a`, in which `@NAME` is a group. `exclude` may
    also be in DeepSpeed's words, as `include` is, which excludes the others (`slots.py`). Hosts keep the
    inventory's order. A spare that `nodes` or `include` names becomes a host, after the others; the rest
    stay spares. Raises InventoryError if an expression is malformed or names a host, group or slot that the
    inventory lacks, or if no host is left.
    """
    every = inventory.hosts + inventory.spares
    wanted = None
    if include is not None:
        for option, given in (("--nodes", nodes), ("--exclude", exclude)):
            if given is not None:
                raise InventoryError(f"--include and {option} exclude each other")
        rest = included(every, _slots(inventory, "--include", include))
        wanted = {host.name for host in rest}
        rest += [host for host in every if host.name not in wanted]
    else:
        if nodes is not None:
            wanted = names_of(inventory, "--nodes", nodes)
        rest = _without(inventory, exclude)
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


def _without(inventory: Inventory, exclude: str | None) -> list[Host]:
    """Return the hosts and spares without what `exclude` names."""
    every = inventory.hosts + inventory.spares
    if exclude is None:
        return list(every)
    if not is_filter(exclude):
        unwanted = names_of(inventory, "--exclude", exclude)
        return [host for host in every if host.name not in unwanted]
    return not_excluded(every, _slots(inventory, "--exclude", exclude))


def _slots(inventory: Inventory, option: str, expression: str) -> Slots:
    slots = parse_filter(option, expression)
    _require_known(inventory, option, list(slots))
    return slots


def names_of(
    inventory: Inventory, option: str, expression: str, whose: str = "the inventory"
) -> set[str]:
    """Return the hosts that an expression names. Raises InventoryError if `whose` hosts lack one."""
    present = {host.name for host in inventory.hosts + inventory.spares}
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
                    f"{option}: {whose} has no group {_suggest(part, list(groups))}",
                    remedy=f"it has {', '.join(groups) or 'no groups'}",
                )
    except ValueError as error:
        raise InventoryError(f"{option} {quoted(expression)}: {error}") from None
    if not names:
        raise InventoryError(
            f"{option} {quoted(expression)}: expected host names, as in node[0-3,7],gpu-a"
        )
    _require_known(inventory, option, names, whose)
    return set(names)


def _require_known(
    inventory: Inventory, option: str, names: Sequence[str], whose: str = "the inventory"
) -> None:
    """Raise InventoryError for names that no host has."""
    known = [host.name for host in inventory.hosts + inventory.spares]
    present = set(known)
    unknown = [name for name in dict.fromkeys(names) if name not in present]
    if unknown:
        unknown[:_MAX_SHOWN] = [_suggest(name, known) for name in unknown[:_MAX_SHOWN]]
        raise InventoryError(
            f"{option}: {whose} has no {first_few(unknown, _MAX_SHOWN)}",
            remedy=f"it has {fold(known)}",
        )


def _suggest(name: str, known: list[str]) -> str:
    meant = nearest(name, known)
    return f"{quoted(name)} (did you mean {meant!r}?)" if meant else quoted(name)
