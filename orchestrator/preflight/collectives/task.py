"""The argument of a trial's script, and its messages: typed and checked, since a node may send anything."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

from orchestrator.preflight.answers import reader
from orchestrator.preflight.interfaces.tournament import Pair, Round

_MAX_TRIALS = 100  # of one measurement; the script makes at most 20


@dataclass(frozen=True)
class Task:
    """What every rank has to do.

    `devices` is the number of ranks of each node, `sizes` what is all-reduced, in bytes, `rounds` which
    nodes, by position, then exchange data. In seconds: `budget` is what one measurement may take,
    `join_timeout` how long a rank waits for the others to join, `limit` what everything after that may
    take. `mark` starts each line for orch.
    """

    backend: str
    devices: tuple[int, ...]
    sizes: tuple[int, ...]
    rounds: tuple[Round, ...]
    budget: float
    join_timeout: float
    limit: float
    mark: str

    @property
    def argument(self) -> str:
        """The argument of the script."""
        return json.dumps(vars(self))


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise ValueError(f"not a count: {value!r:.40}")
    return value


def _size(value: Any) -> int:
    if _count(value) == 0:
        raise ValueError("no bytes at all")
    return int(value)


def _seconds(value: Any) -> tuple[float, ...]:
    found = tuple(float(each) for each in value)
    valid = all(math.isfinite(each) and each > 0 for each in found)
    if not 1 <= len(found) <= _MAX_TRIALS or not valid:
        raise ValueError("not a time in seconds for each trial")
    return found


def _pair(value: Any) -> Pair:
    first, second = map(_count, value)
    return first, second


def _is_true(value: Any) -> bool:
    return value is True


@dataclass(frozen=True)
class Message:
    """What a rank of the script reports."""

    rank: Annotated[int, _count]


@dataclass(frozen=True)
class Joined(Message):
    """This rank has found all others."""


@dataclass(frozen=True)
class Done(Message):
    """This rank has done everything."""


@dataclass(frozen=True)
class Summed(Message):
    """Whether the sum of an all_reduce of `size` bytes was right on this rank."""

    size: Annotated[int, _size]
    right: Annotated[bool, _is_true]


@dataclass(frozen=True)
class AllReduced(Message):
    """How long the slowest rank took for an all_reduce of `size` bytes, in seconds by trial."""

    size: Annotated[int, _size]
    seconds: Annotated[tuple[float, ...], _seconds]

    @property
    def algbw(self) -> float:
        """Bytes per second of the median trial."""
        return self.size / median(self.seconds)

    @property
    def algbw_p10(self) -> float:
        """Bytes per second that nine of ten trials reach."""
        return self.size / sorted(self.seconds, reverse=True)[len(self.seconds) // 10]

    def busbw(self, world_size: int) -> float:
        """Return the bytes per second that each rank's link carried, in either direction.

        algbw x 2(n-1)/n, as in nccl-tests (doc/PERFORMANCE.md): what a ring sends per rank.
        """
        return self.algbw * 2 * (world_size - 1) / world_size


@dataclass(frozen=True)
class Exchanged(Message):
    """How long this rank took to exchange `size` bytes each way within `pair`, in seconds by trial."""

    pair: Annotated[Pair, _pair]
    size: Annotated[int, _size]
    seconds: Annotated[tuple[float, ...], _seconds]


_KINDS: dict[str, type[Message]] = {
    "joined": Joined,
    "summed": Summed,
    "all_reduced": AllReduced,
    "exchanged": Exchanged,
    "done": Done,
}


def parse(text: bytes) -> Message:
    """Return the message in a line, without its mark. Raises ValueError for anything else."""
    try:
        ((kind, fields),) = json.loads(text).items()
        return reader(_KINDS[kind])(fields)
    except (AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"not a message of the script: {error!r}") from None
