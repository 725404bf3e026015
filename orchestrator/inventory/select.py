"""Select nodes of an inventory: `--nodes`, `--exclude` and `--include`."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.ranges import MAX_HOSTS, expand, fold, split_expression
from orchestrator.inventory.slots import Slots, included, is_filter, not_excluded, parse_filter
from orchestrator.util.text import counted, escaped, first_few, nearest, quoted

_MAX_SHOWN = 5
_MAX_REASONS = 20


def select(
    inventory: Inventory,
    nodes: str | None = None,
    exclude: str | None = None,
    include: str | None = None,
) -> Inventory:
    """Return `inventory` with the hosts of `nodes` (None: all) without those of `exclude`.

    Both are host range expressions such as `node[0-3,7],gpu-a`, in which `@NAME` is a group, and NAME too
    if no host has that name. `exclude` may also be in DeepSpeed's words, as `include` is, which excludes
    the others (`slots.py`). Hosts keep the inventory's order. A spare that `nodes` or `include` names
    becomes a host, after the others; the rest stay spares. Raises InventoryError if an expression is
    malformed or names a host, group or slot that the inventory lacks, if a host is selected that orch
    cannot use, or if no host is left.
    """
    every = inventory.hosts + inventory.spares
    wanted = None
    if include is not None:
        for option, given in (("--nodes", nodes), ("--exclude", exclude)):
            if given is not None:
                raise InventoryError(f"--include and {option} exclude each other")
        slots = _slots(inventory, "--include", include)
        wanted = set(slots)
        rest = included(every, slots)
        rest += [host for host in every if host.name not in wanted]
        _require_usable(inventory, wanted, set(), "--include without")
    else:
        if nodes is not None:
            wanted = names_of(inventory, "--nodes", nodes)
        rest, unwanted = _without(inventory, exclude)
        _require_usable(inventory, wanted, unwanted)
    left = tuple(
        host.model_copy(update={"spare": False})
        for host in rest
        if (not host.spare if wanted is None else host.name in wanted)
    )
    if not left:
        raise InventoryError("no node is left to run on", remedy="exclude fewer, or select others")
    names = {host.name for host in left}
    spares = tuple(host for host in rest if host.spare and host.name not in names)
    return inventory.model_copy(update={"hosts": left, "spares": spares, "refused": ()})


def _require_usable(
    inventory: Inventory, wanted: set[str] | None, unwanted: set[str], without: str = "--exclude"
) -> None:
    """Raise InventoryError, with all reasons, if a host is selected that orch cannot use.

    `without` is how to select others.
    """
    refused = [
        each
        for each in inventory.refused
        if each.name not in unwanted and (wanted is None or each.name in wanted)
    ]
    if not refused:
        return
    reasons = [each.reason for each in refused[:_MAX_REASONS]]
    if len(refused) > _MAX_REASONS:
        reasons.append(f"and {len(refused) - _MAX_REASONS:,} more hosts that orch cannot use")
    remedy = None
    if inventory.hosts and len(refused) <= _MAX_SHOWN:
        names = ",".join(escaped(each.name) for each in refused)
        remedy = f"leave out {counted(len(refused), 'host')}: {without} {names}"
    elif inventory.hosts:
        remedy = "--nodes @GROUP selects hosts that orch can use"
    raise InventoryError("\n".join(reasons), remedy=remedy)


def _without(inventory: Inventory, exclude: str | None) -> tuple[list[Host], set[str]]:
    """Return the hosts and spares without what `exclude` names, and the names that it excludes."""
    every = inventory.hosts + inventory.spares
    if exclude is None:
        return list(every), set()
    if not is_filter(exclude):
        unwanted = names_of(inventory, "--exclude", exclude)
        return [host for host in every if host.name not in unwanted], unwanted
    slots = _slots(inventory, "--exclude", exclude)
    return not_excluded(every, slots), {name for name, numbers in slots.items() if not numbers}


def _slots(inventory: Inventory, option: str, expression: str) -> Slots:
    slots = parse_filter(option, expression)
    _require_known(inventory, option, list(slots))
    return slots


def names_of(
    inventory: Inventory, option: str, expression: str, whose: str = "the inventory"
) -> set[str]:
    """Return the hosts that an expression names. Raises InventoryError if `whose` hosts lack one."""
    present = _names(inventory)
    groups = {f"@{group.name}": group.hosts for group in inventory.groups}
    bare = {name[1:]: hosts for name, hosts in groups.items() if name[1:] not in present}
    names: list[str] = []
    try:
        for part in split_expression(expression):
            if part in bare:
                names += (name for name in bare[part] if name in present)
            elif not part.startswith("@"):
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
    present = _names(inventory)
    unknown = [name for name in dict.fromkeys(names) if name not in present]
    if unknown:
        unknown[:_MAX_SHOWN] = [_suggest(name, known) for name in unknown[:_MAX_SHOWN]]
        raise InventoryError(
            f"{option}: {whose} has no {first_few(unknown, _MAX_SHOWN)}",
            remedy=f"it has {fold(known)}",
        )


def _names(inventory: Inventory) -> set[str]:
    """Return the names of all hosts, also of those that orch cannot use."""
    usable = {host.name for host in inventory.hosts + inventory.spares}
    return usable | {host.name for host in inventory.refused}


def _suggest(name: str, known: list[str]) -> str:
    meant = nearest(name, known)
    return f"{quoted(name)} (did you mean {meant!r}?)" if meant else quoted(name)
