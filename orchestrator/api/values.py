"""Parse option values from the command line or a program. Functions raise UsageError."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Literal, TypeVar, overload

from orchestrator.errors import UsageError

T = TypeVar("T")
Time = float | str
"""Seconds, or a string such as `90s`, `10m`, `2h30m`."""
Size = int | str
"""Bytes, or a string such as `500M`, `10G`."""
AnyPath = str | PathLike[str]

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([kKMGT]?)(i?)B?")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", re.ASCII)
_NODE_RANGE = re.compile(r"([1-9][0-9]{0,5}):([1-9][0-9]{0,5})", re.ASCII)
_MAX_SECONDS = 1e9
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
LEAST_SECONDS = {
    "grace": 0.0, "linger": 0.0, "node_timeout": 0.0, "lease": 1.0, "timeout": 0.0, "stall": 1.0,
}  # fmt: skip
"""The least value of each option of a launch that is a time."""
OTHER_NAMES = {
    "inventory": "hosts",
    "hostfile": "hosts",
    "nproc_per_node": "nproc",
    "master_addr": "main_address",
    "master_port": "main_port",
    "max_restarts": "restarts",
}
"""Names of options of other launchers, and those of orch's for a call."""


def value_of(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """Return `parse(text)`, or None if `text` is None; a ValueError becomes a UsageError."""
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


@overload
def seconds(option: str, given: Time, least: float = 0.0) -> float: ...
@overload
def seconds(option: str, given: Time | None, least: float = 0.0) -> float | None: ...
def seconds(option: str, given: Time | None, least: float = 0.0) -> float | None:
    """Return a time in seconds, at least `least`; `90`, `90s`, `1.5h` and `2h30m` are understood."""
    if given is None:
        return None
    value = _parse_time(given.strip()) if isinstance(given, str) else float(given)
    if value is None or not least <= value < _MAX_SECONDS:
        raise UsageError(
            f"{option} {given}: expected a time of at least {least:g} s",
            remedy="write it in seconds, or as 90s, 10m, 2h30m or 1d",
        )
    return value


def _parse_time(text: str) -> float | None:
    from orchestrator.logs.timespec import parse_span

    return float(text) if _NUMBER.fullmatch(text) else parse_span(text)


def parse_size(text: str) -> int:
    """Parse a size such as `500M`, `1.5 GB` or `2Ti` to bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:60]!r} is not a size; write bytes as 500M, 10G or 1.5T")
    digits, unit, binary = match.groups()
    return int(float(digits) * (1024 if binary else 1000) ** _POWERS[unit])


def limit(option: str, given: Size | None, default: int) -> int | None:
    """Return a limit in bytes, None for 0, which means no limit."""
    size = value_of(option, given, parse_size) if isinstance(given, str) else given
    return default if size is None else size or None


def number(option: str, given: int | None, least: int, most: int) -> int | None:
    """Return a whole number from `least` to `most`."""
    if given is not None and not (type(given) is int and least <= given <= most):
        raise UsageError(f"{option} {given}: expected a number from {least} to {most}")
    return given


def number_or_auto(option: str, given: int | str | None, most: int) -> int | Literal["auto"] | None:
    """Return a number from 1 to `most`, or "auto"."""
    if given is None:
        return None
    text = str(given)
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and 1 <= int(text) <= most:
        return int(text)
    raise UsageError(f"{option} {text}: expected a number from 1 to {most}, or auto")


def node_range(option: str, given: str) -> tuple[int, int]:
    """Return the two numbers of `MIN:MAX`."""
    match = _NODE_RANGE.fullmatch(given)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(
            f"{option} {given}: expected two numbers of nodes, the smaller first",
            remedy=f"{option} 2:4 for a job that continues with 2 to 4 nodes",
        )
    return int(match[1]), int(match[2])


def one_of(option: str, given: T, *choices: T) -> T:
    """Return `given` if it is one of the choices."""
    if given not in choices:
        raise UsageError(f"{option} {given}: expected one of {', '.join(map(str, choices))}")
    return given


def word_list(option: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return a list of words; a string is refused, since its letters would count as words."""
    if isinstance(given, str):
        raise UsageError(f"{option}: expected a list of words", remedy=f"[{given!r}]")
    return tuple(given or ())


def check_names(function: str, given: Mapping[str, object], known: type) -> None:
    """Raise TypeError for a keyword that the TypedDict `known` lacks, and suggest a similar one."""
    from orchestrator.util.text import nearest

    names = known.__annotations__
    for name in given:
        if name not in names:
            meant = OTHER_NAMES.get(name) or nearest(name, names)
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
