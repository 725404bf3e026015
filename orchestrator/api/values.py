"""Values of options that Typer does not know."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeVar

from orchestrator.errors import UsageError

T = TypeVar("T")

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([kKMGT]?)(i?)B?")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", re.ASCII)
_ETERNITY = 1e9  # seconds
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def value_of(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """Return what `parse` makes of the option's text, if there is one; its ValueError is a UsageError."""
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def seconds(option: str, least: float) -> Callable[[str | float], float]:
    """Return what reads a time of at least so many seconds, for Typer; it raises UsageError.

    `90`, `90s`, `1.5h` and `2h30m` are understood.
    """

    def read(typed: str | float) -> float:
        value = typed if isinstance(typed, float) else _seconds(typed.strip())
        if value is None or not least <= value < _ETERNITY:
            raise UsageError(
                f"{option} {typed}: a time of at least {least:g} s is expected",
                remedy="write it in seconds, or as 90s, 10m, 2h30m or 1d",
            )
        return value

    return read


def _seconds(text: str) -> float | None:
    from orchestrator.logs.timespec import parse_span

    return float(text) if _NUMBER.fullmatch(text) else parse_span(text)


def parse_size(text: str) -> int:
    """Return the bytes that `500M`, `1.5 GB` or `2Ti` are. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:60]!r} is not a size; write bytes as 500M, 10G or 1.5T")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit])


def size(option: str) -> Callable[[str | int], int]:
    """Return what reads a number of bytes, for Typer; it raises UsageError."""

    def read(typed: str | int) -> int:
        try:
            return typed if isinstance(typed, int) else parse_size(typed)
        except ValueError as error:
            raise UsageError(f"{option}: {error}") from None

    return read


def number_or_auto(option: str, text: str | None, largest: int) -> int | Literal["auto"] | None:
    """Return the number, from 1 to `largest`, that `text` is, or "auto". Raises UsageError."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and 1 <= int(text) <= largest:
        return int(text)
    raise UsageError(f"{option} {text}: a number from 1 to {largest}, or auto")
