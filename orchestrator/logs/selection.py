"""Select streams by ranks (sets of numbers such as `0,4-7`), nodes and channel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.logs.stream import Channel, Stream
from orchestrator.util.numbers import ranges_of, shown_ranges

_PART = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", re.ASCII)
_MAX_TEXT = 10_000


@dataclass(frozen=True)
class RankSet:
    """A set of ranks as inclusive ranges (first, last): `3 in RankSet.parse("0-4")`.

    The launcher's output has no rank (None), so it is in no set.
    """

    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, rank: object) -> bool:
        return isinstance(rank, int) and any(first <= rank <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return shown_ranges(self.ranges)

    @classmethod
    def parse(cls, text: str) -> RankSet:
        """Parse numbers and ranges, separated by commas. Raises ValueError, which says what is wrong."""
        if len(text) > _MAX_TEXT:
            raise ValueError(f"a rank set of {len(text)} characters is too long")
        return cls(tuple(_range(part.strip(), text) for part in text.split(",")))

    @classmethod
    def of(cls, ranks: Iterable[int]) -> RankSet:
        """Return the set of these ranks."""
        return cls(ranges_of(ranks))


@dataclass(frozen=True)
class Selection:
    """The streams of these ranks, nodes and channel; None selects all.

    With `ranks`, launchers are left out: they have no rank.
    """

    ranks: RankSet | None = None
    nodes: frozenset[str] | None = None
    channel: Channel | None = None

    def __contains__(self, stream: Stream) -> bool:
        return (
            (self.ranks is None or stream.rank in self.ranks)
            and (self.nodes is None or stream.node in self.nodes)
            and (self.channel is None or stream.channel == self.channel)
        )


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
        raise ValueError(f"rank set {text[:60]!r}: {part!r} is reversed; write {last}-{first}")
    return first, last
