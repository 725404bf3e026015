"""What stands before each line: `r3 node1 │ `, in columns as wide as the run's widest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.logs.stream import Stream

_RED = b"31"


@dataclass(frozen=True)
class Widths:
    """The widths of the prefix's columns, in characters."""

    rank: int
    node: int

    @classmethod
    def of(cls, nodes: Iterable[str], world_size: int) -> Widths:
        """The widths that a run of `world_size` ranks on `nodes` needs."""
        return cls(
            rank=max(len("--"), len(f"r{world_size - 1}")),
            node=max(map(len, nodes), default=0),
        )


def prefix(stream: Stream, widths: Widths, colour: bytes | None = None) -> bytes:
    """The prefix of the stream's lines, as UTF-8.

    `colour` holds the parameters of an SGR sequence (b"36" is cyan) for rank and node, and turns
    the separator of stderr red; without it nothing is coloured.
    """
    rank = "--" if stream.rank is None else f"r{stream.rank}"
    who = f"{rank:<{widths.rank}} {stream.node:<{widths.node}}".encode()
    if colour is None:
        return who + " │ ".encode()
    bar = "│".encode()
    return (
        _painted(who, colour)
        + b" "
        + (_painted(bar, _RED) if stream.channel == "stderr" else bar)
        + b" "
    )


def timestamp(t: float) -> bytes:
    """`t` (seconds since the epoch) in UTC to the millisecond: `2026-01-31T09:30:00.125Z`."""
    moment = datetime.fromtimestamp(t, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00").encode() + b"Z"


def _painted(text: bytes, colour: bytes) -> bytes:
    return b"\x1b[%bm%b\x1b[0m" % (colour, text)
