"""Choosing ranks: number sets such as `0,4-7`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", re.ASCII)
_MAX_TEXT = 10_000


@dataclass(frozen=True)
class RankSet:
    """A set of ranks, held as its ranges (first, last), both included: `3 in RankSet.parse("0-4")`.

    The launcher's output has no rank (None), so it is in no set.
    """

    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, rank: object) -> bool:
        return isinstance(rank, int) and any(first <= rank <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges)

    @classmethod
    def parse(cls, text: str) -> RankSet:
        """Read numbers and ranges with commas between them; ValueError says what is wrong."""
        if len(text) > _MAX_TEXT:
            raise ValueError(f"a rank set of {len(text)} characters is too long")
        return cls(tuple(_range(part.strip(), text) for part in text.split(",")))


def _range(part: str, text: str) -> tuple[int, int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(
            f"rank set {text[:60]!r}: {part[:60]!r} is not a rank or a range of ranks; "
            "write numbers of at most 7 digits, such as 0,4-7"
        )
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise ValueError(f"rank set {text[:60]!r}: {part!r} runs backwards; write {last}-{first}")
    return first, last
