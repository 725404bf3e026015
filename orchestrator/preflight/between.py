"""What was measured between nodes, from each to each, as far as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from orchestrator.preflight.collectives.measured import Gloo, Measured, Nccl
from orchestrator.preflight.model import NoAnswer
from orchestrator.preflight.reachability import Reachability
from orchestrator.preflight.scene import Scene

Values = Mapping[tuple[str, str], float]
"""By (from, to)."""


@dataclass(frozen=True)
class Quantity:
    """Something that was measured between nodes: in `unit`, the better the `good` end of it is near.

    `key` names it in JSON, with its unit.
    """

    key: str
    title: str
    unit: Literal["s", "B/s"]
    good: Literal["low", "high"]


def between(scene: Scene) -> Iterator[tuple[Quantity, Values]]:
    """Yield what has any values; a way that could not be tried has none, and nonsense is none."""
    for quantity, kind, values_of in _QUANTITIES:
        found = scene.find(kind)
        if isinstance(found, NoAnswer):
            continue
        values = {pair: v for pair, v in values_of(found).items() if isfinite(v) and v >= 0}
        if values:
            yield quantity, values


def _round_trips(found: Reachability) -> Values:
    return found.round_trips


def _rates(found: Measured) -> Values:
    return found.rates


_QUANTITIES: tuple[tuple[Quantity, type[Any], Callable[[Any], Values]], ...] = (
    (
        Quantity("latency_seconds", "round trip of a connection", "s", "low"),
        Reachability,
        _round_trips,
    ),
    (Quantity("gloo_bytes_per_second", "exchange over gloo", "B/s", "high"), Gloo, _rates),
    (Quantity("nccl_bytes_per_second", "exchange over NCCL", "B/s", "high"), Nccl, _rates),
)
