"""Choose hosts and GPUs in DeepSpeed's words: `h1:0,2@h2` is GPUs 0 and 2 of h1, and h2.

DeepSpeed's launcher/runner.py (0.19.8, `parse_resource_filter`): a host named twice has the slots of both;
slots are sorted and each counts once; hosts keep the order of the inventory; a host that is left without
slots is left out; an unknown host or slot is an error. Names may be ranges here: `node[0-3]:0,2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from orchestrator.errors import InventoryError
from orchestrator.inventory.devices import MAX_DEVICES, selection, written
from orchestrator.inventory.model import Host
from orchestrator.inventory.ranges import MAX_HOSTS, expand, split_expression
from orchestrator.util.text import quoted

Slots = dict[str, tuple[int, ...]]
"""The slots of each host that is named; none for the whole host."""

_SLOT = re.compile(r"\s*([0-9]{1,9})\s*")
# An @ that joins hosts, or a colon; at the start of a word, @ is a group.
_FORM = re.compile(r":|[^\s,]@")


def is_filter(expression: str) -> bool:
    """Tell whether an expression is in DeepSpeed's words, which no host range expression is."""
    return _FORM.search(expression) is not None


def parse_filter(option: str, expression: str) -> Slots:
    """Return what `expression` names, in its order. Raises InventoryError if it is malformed."""
    found: dict[str, set[int]] = {}
    try:
        for spec in expression.split("@"):
            hosts, colon, slots = spec.partition(":")
            numbers = {_slot(slot) for slot in slots.split(",")} if colon else set()
            if len(split_expression(hosts)) != 1:
                raise ValueError(f"expected one host or range before each @; found {quoted(hosts)}")
            for name in expand(hosts, MAX_HOSTS - len(found)):
                found.setdefault(name, set()).update(numbers)
    except ValueError as error:
        raise InventoryError(
            f"{option} {quoted(expression)}: {error}",
            remedy=f"write hosts with their GPUs, joined by @: {option} node0:0,2@node1",
        ) from None
    return {name: tuple(sorted(numbers)) for name, numbers in found.items()}


def _slot(text: str) -> int:
    match = _SLOT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"expected indices of GPUs after the colon, as in 0,2; found {quoted(text)}"
        )
    return int(match[1])


def included(hosts: Iterable[Host], slots: Slots) -> list[Host]:
    """Return the hosts in `slots`, with these slots alone.

    Raises InventoryError for a slot that a host does not have.
    """
    return [_with("--include", host, slots[host.name]) for host in hosts if host.name in slots]


def not_excluded(hosts: Iterable[Host], slots: Slots) -> list[Host]:
    """Return the hosts that have others than `slots`, with the others.

    Raises InventoryError for a slot that a host does not have.
    """
    left = [
        _without("--exclude", host, slots[host.name]) if host.name in slots else host
        for host in hosts
    ]
    return [host for host in left if host is not None]


def _with(option: str, host: Host, slots: Sequence[int]) -> Host:
    _require(option, host, slots)
    return host.model_copy(update={"devices": tuple(slots)}) if slots else host


def _without(option: str, host: Host, slots: Sequence[int]) -> Host | None:
    """Return `host` without these slots; None if none is left, or none is given."""
    _require(option, host, slots)
    own = _slots_of(host)
    if not slots:
        return None
    if own is None:  # their number is not known yet
        without = sorted({*selection(host.devices).without, *slots})
        return host.model_copy(update={"devices": "^" + ",".join(map(str, without))})
    left = tuple(slot for slot in own if slot not in slots)
    return host.model_copy(update={"devices": left}) if left else None


def _slots_of(host: Host) -> tuple[int, ...] | None:
    """Return the slots of a host; None if the number of its GPUs decides that."""
    own = selection(host.devices)
    if own.gpus is not None:
        return own.gpus
    return tuple(range(own.ranks)) if isinstance(own.ranks, int) else None


def _require(option: str, host: Host, slots: Sequence[int]) -> None:
    """Raise InventoryError if the host does not have one of the slots, as far as the inventory says."""
    own = _slots_of(host)
    gone = selection(host.devices).without
    for slot in slots:
        if slot >= MAX_DEVICES or slot in gone or (own is not None and slot not in own):
            raise InventoryError(
                f"{option}: {host.name} has no slot {slot}: its devices are {written(host.devices)}",
                remedy="name slots that the inventory gives it; with devices: auto, any of its GPUs",
            )
