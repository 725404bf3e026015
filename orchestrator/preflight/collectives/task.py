"""What the script of a trial is told, and what it tells: typed and checked, for a node may say anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.preflight.interfaces.tournament import Pair, Round

_MOST_SECONDS = 100  # trials of one measurement; the script makes at most 20


@dataclass(frozen=True)
class Task:
    """What every rank is to do.

    `devices` is the number of ranks of each node, `sizes` what is all-reduced, in bytes, `rounds` which
    nodes, by position, exchange data thereafter. In seconds: `budget` is what one measurement may take,
    `patience` how long a rank waits for the others to come, `limit` what it may take from then on,
    whatever happens. `mark` begins each line for orch.
    """

    backend: str
    devices: tuple[int, ...]
    sizes: tuple[int, ...]
    rounds: tuple[Round, ...]
    budget: float
    patience: float
    limit: float
    mark: str

    @property
    def argument(self) -> str:
        """The word that the script takes."""
        return json.dumps(vars(self))


@dataclass(frozen=True)
class Joined:
    """This rank has found all others."""

    rank: int


@dataclass(frozen=True)
class Summed:
    """Whether the sum of an all_reduce of `size` bytes was right on this rank."""

    rank: int
    size: int
    right: bool


@dataclass(frozen=True)
class AllReduced:
    """How long the slowest rank took for an all_reduce of `size` bytes, in seconds by trial."""

    rank: int
    size: int
    seconds: tuple[float, ...]

    @property
    def algbw(self) -> float:
        """Bytes a second of the median trial."""
        return self.size / median(self.seconds)

    @property
    def algbw_p10(self) -> float:
        """Bytes a second that nine of ten trials reach."""
        return self.size / sorted(self.seconds, reverse=True)[len(self.seconds) // 10]

    def busbw(self, world_size: int) -> float:
        """Return the bytes a second that each rank's link carried, in either direction.

        algbw x 2(n-1)/n, as nccl-tests have it (doc/PERFORMANCE.md): what a ring sends per rank.
        """
        return self.algbw * 2 * (world_size - 1) / world_size


@dataclass(frozen=True)
class Exchanged:
    """How long this rank took to exchange `size` bytes each way within `pair`, in seconds by trial."""

    rank: int
    pair: Pair
    size: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Done:
    """This rank has done everything."""

    rank: int


Word = Joined | Summed | AllReduced | Exchanged | Done


def parse(text: bytes) -> Word:
    """Return what a line says, without its mark. Raises ValueError for anything else."""
    try:
        raw = json.loads(text)
        if "joined" in raw:
            return Joined(_count(raw["joined"]))
        if "done" in raw:
            return Done(_count(raw["done"]))
        rank = _count(raw["rank"])
        if "sum" in raw:
            return Summed(rank, _size(raw["sum"]), raw["right"] is True)
        if "all_reduce" in raw:
            return AllReduced(rank, _size(raw["all_reduce"]), _seconds(raw))
        first, second = map(_count, raw["pair"])
        return Exchanged(rank, (first, second), _size(raw["bytes"]), _seconds(raw))
    except (AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"not a word of the script's: {error!r}") from None


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise ValueError(f"not a count: {value!r:.40}")
    return value


def _size(value: Any) -> int:
    if _count(value) == 0:
        raise ValueError("no bytes at all")
    return int(value)


def _seconds(raw: Mapping[str, Any]) -> tuple[float, ...]:
    found = tuple(float(entry) for entry in raw["seconds"])
    if not 1 <= len(found) <= _MOST_SECONDS or not all(
        math.isfinite(entry) and entry > 0 for entry in found
    ):
        raise ValueError("not a time in seconds for each trial")
    return found
