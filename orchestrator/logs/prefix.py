"""What precedes each line: `r3 node1 │ `, in columns as wide as the widest of the run.

Before a line that several ranks printed: `r[0-62] ×63 8 nodes │ `.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.logs.selection import RankSet
from orchestrator.logs.stream import Stream

_RED = b"31"
_MAX_RANGES = 4  # of ranks in a prefix


@dataclass(frozen=True)
class Widths:
    """The widths of the prefix's columns, in characters."""

    rank: int
    node: int

    @classmethod
    def of(cls, nodes: Iterable[str], world_size: int) -> Widths:
        """Return the widths for a run of `world_size` ranks on `nodes`."""
        return cls(
            rank=max(len("--"), len(f"r{world_size - 1}")),
            node=max(map(len, nodes), default=0),
        )


def prefix(stream: Stream, widths: Widths, colour: bytes | None = None) -> bytes:
    """Return the prefix of the stream's lines, as UTF-8.

    `colour` has the parameters of an SGR sequence (b"36" is cyan) for rank and node, and makes the
    separator of stderr red; without it nothing is coloured.
    """
    rank = "--" if stream.rank is None else f"r{stream.rank}"
    return _bar(f"{rank:<{widths.rank}} {stream.node:<{widths.node}}", stream, colour)


def folded_prefix(streams: Sequence[Stream], widths: Widths, colour: bytes | None = None) -> bytes:
    """Return the prefix of a line that all of `streams`, of one channel, have.

    `r[0-62] ×63 8 nodes │ `, or with the name of the node if there is one; at least as wide as others.
    """
    ranks = RankSet.of(stream.rank for stream in streams if stream.rank is not None)
    names = [str(RankSet((part,))) for part in ranks.ranges[:_MAX_RANGES]]
    if len(ranks.ranges) > _MAX_RANGES:
        names.append("…")
    nodes = {stream.node for stream in streams}
    who = f"r[{','.join(names)}]" if names else "--"
    where = streams[0].node if len(nodes) == 1 else f"{len(nodes)} nodes"
    text = f"{who} ×{len(streams)} {where}"
    return _bar(f"{text:<{widths.rank + 1 + widths.node}}", streams[0], colour)


def timestamp(t: float) -> bytes:
    """Return `t` (seconds since the epoch) as local time: `2026-01-31T09:30:00.125+01:00`.

    With the offset from UTC, `Z` if there is none, so that it is unambiguous, sorts in lnav and can be
    given to --since.
    """
    moment = datetime.fromtimestamp(t, UTC).astimezone()
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def _bar(who: str, stream: Stream, colour: bytes | None) -> bytes:
    if colour is None:
        return f"{who} │ ".encode()
    bar = "│".encode()
    return (
        _painted(who.encode(), colour)
        + b" "
        + (_painted(bar, _RED) if stream.channel == "stderr" else bar)
        + b" "
    )


def _painted(text: bytes, colour: bytes) -> bytes:
    return b"\x1b[%bm%b\x1b[0m" % (colour, text)
