"""Sets of numbers as ranges, such as `0-2,5`."""

from __future__ import annotations

from collections.abc import Iterable


def ranges_of(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return the numbers as ranges (first, last), both included, in ascending order."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def shown_ranges(ranges: Iterable[tuple[int, int]], dash: str = "-", comma: str = ",") -> str:
    """Return ranges (first, last) as text: `0-2,5`."""
    return comma.join(str(a) if a == b else f"{a}{dash}{b}" for a, b in ranges)


def folded(numbers: Iterable[int]) -> str:
    """Return the numbers as text: `0-2,5`."""
    return shown_ranges(ranges_of(numbers))
