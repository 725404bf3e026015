"""The key `devices`: which GPUs the ranks of a node see, and how many ranks there are.

| value | GPUs that the ranks see | ranks |
|---|---|---|
| `8` | all | 8 |
| `auto` | all | one for each GPU, 1 without GPUs |
| `gpu` | all | one for each GPU; a node without GPUs is refused |
| `[0, 2, 3]` | these, in this order | one for each of them |
| `^3`, `^1,3` | all others | one for each of them |
| `cpu`, `cpu:4` | none | 1, 4 |

A GPU is named by its index, as `nvidia-smi -L` lists it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.inventory.values import whole_number
from orchestrator.util.text import quoted

Devices = int | str | tuple[int, ...]
"""A value of the table above, checked: numbers are `int`, lists are tuples."""

MAX_DEVICES = 1024
_CPU = re.compile(r"cpu(?::([0-9]{1,4}))?")
_EXPECTED = (
    f"expected a number from 1 to {MAX_DEVICES}, auto, gpu, cpu, or cpu:4 (four ranks on the CPU)"
)
_EXPECTED_INDICES = f"expected indices of GPUs from 0 to {MAX_DEVICES - 1}, as in [0, 2, 3]"


@dataclass(frozen=True)
class Selection:
    """What a value of `devices` means.

    `gpus` are the indices that ranks see (None: all), without those in `without`. `ranks` is their number;
    "gpu" is one for each GPU that they see, "auto" also one if there is none.
    """

    ranks: int | Literal["auto", "gpu"]
    gpus: tuple[int, ...] | None = None
    without: tuple[int, ...] = ()


def parse_devices(value: object) -> Devices:
    """A value of `devices`, as written. Raises ValueError with what was expected."""
    if isinstance(value, (list, tuple)):
        return _indices(value)
    if isinstance(value, str) and value.startswith("^"):
        return "^" + ",".join(map(str, _indices(value[1:].split(","))))
    try:
        return parse_ranks(value)
    except ValueError as error:
        raise ValueError(f"{error}, or indices of GPUs, as in [0, 2, 3]") from None


def parse_ranks(value: object) -> int | str:
    """A value of `devices` that names no GPUs. Raises ValueError with what was expected."""
    number = whole_number(value)
    if number is not None and 1 <= number <= MAX_DEVICES:
        return number
    if isinstance(value, str) and (value in ("auto", "gpu") or _is_cpu(value)):
        return value
    raise ValueError(_EXPECTED)


def as_json(given: Devices) -> int | str | list[int]:
    """Return a checked value as a value of JSON."""
    return list(given) if isinstance(given, tuple) else given


def selection(given: Devices) -> Selection:
    """Return what a checked value means."""
    if isinstance(given, int):
        return Selection(given)
    if isinstance(given, tuple):
        return Selection(len(given), given)
    if given.startswith("^"):
        return Selection("gpu", without=tuple(map(int, given[1:].split(","))))
    if cpu := _CPU.fullmatch(given):
        return Selection(int(cpu[1] or 1), ())
    return Selection("gpu" if given == "gpu" else "auto")


def written(given: Devices) -> str:
    """Return a checked value as an inventory has it: `[0, 2]`."""
    return str(as_json(given))


def _indices(given: Sequence[object]) -> tuple[int, ...]:
    found: list[int] = []
    for each in given:
        number = whole_number(each.strip() if isinstance(each, str) else each)
        if number is None or not 0 <= number < MAX_DEVICES:
            raise ValueError(f"{_EXPECTED_INDICES}; {quoted(str(each))} is not one")
        if number in found:
            raise ValueError(f"expected each GPU once; {number} is there twice")
        found.append(number)
    if not found:
        raise ValueError("expected at least one GPU; cpu is for ranks that see none")
    return tuple(found)


def _is_cpu(value: str) -> bool:
    match = _CPU.fullmatch(value)
    return match is not None and (match[1] is None or 1 <= int(match[1]) <= MAX_DEVICES)
