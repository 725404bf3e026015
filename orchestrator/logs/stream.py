"""The name of an output stream: of one rank, or of the launcher, on one node."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Channel = Literal["stdout", "stderr"]

_PATH = re.compile(
    r"attempt-(0|[1-9][0-9]{0,3})/(?:rank-(0|[1-9][0-9]{0,6})|launcher)\.(out|err)", re.ASCII
)
_MAX_ATTEMPT = 9_999
_MAX_RANK = 9_999_999


@dataclass(frozen=True)
class Stream:
    """One output stream of a run; `rank` is global, and None for the launcher.

    Raises ValueError if the node cannot name a folder or a number is out of range, so no path leaves
    the folder of its node.
    """

    node: str
    attempt: int
    rank: int | None
    local_rank: int | None
    channel: Channel

    def __post_init__(self) -> None:
        if self.node in ("", ".", "..") or "/" in self.node or not self.node.isprintable():
            raise ValueError(f"{self.node!r} cannot name a node's log folder")
        if self.channel not in ("stdout", "stderr"):
            raise ValueError(f"{self.channel!r} is neither stdout nor stderr")
        if not 0 <= self.attempt <= _MAX_ATTEMPT:
            raise ValueError(f"attempt {self.attempt} is not within 0 to {_MAX_ATTEMPT}")
        for rank in (self.rank, self.local_rank):
            if rank is not None and not 0 <= rank <= _MAX_RANK:
                raise ValueError(f"rank {rank} is not within 0 to {_MAX_RANK}")

    @property
    def path(self) -> str:
        """The file below the node's folder: `attempt-0/rank-3.out`."""
        who = "launcher" if self.rank is None else f"rank-{self.rank}"
        return f"attempt-{self.attempt}/{who}.{'out' if self.channel == 'stdout' else 'err'}"

    @classmethod
    def parse(cls, node: str, path: str, local_rank: int | None = None) -> Stream:
        """Return the stream that `path` names on `node`; the inverse of `path`.

        Paths come from nodes and are not trusted. Raises ValueError for anything but the exact form.
        """
        match = _PATH.fullmatch(path)
        if match is None:
            raise ValueError(f"{path[:200]!r} does not name a log file of a run")
        attempt, rank, suffix = match.groups()
        return cls(
            node=node,
            attempt=int(attempt),
            rank=None if rank is None else int(rank),
            local_rank=local_rank,
            channel="stdout" if suffix == "out" else "stderr",
        )
