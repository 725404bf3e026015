"""What was measured between each pair of nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeVar

from orchestrator.preflight.collectives.result import Gloo, Nccl
from orchestrator.preflight.interfaces.throughput import Bandwidth
from orchestrator.preflight.model import Context, NoAnswer
from orchestrator.preflight.reach.reachability import Reachability

T = TypeVar("T")

Values = Mapping[tuple[str, str], float]
"""By (from, to)."""


@dataclass(frozen=True)
class Quantity:
    """Something that was measured between nodes in `unit`; `good` is the better end of its values.

    `key` names it in JSON, with its unit.
    """

    key: str
    title: str
    unit: Literal["s", "B/s"]
    good: Literal["low", "high"]


LATENCY = Quantity("latency_seconds", "round trip of a connection", "s", "low")
BANDWIDTH = Quantity("bandwidth_bytes_per_second", "bandwidth", "B/s", "high")
GLOO = Quantity("gloo_bytes_per_second", "exchange over gloo", "B/s", "high")
NCCL = Quantity("nccl_bytes_per_second", "exchange over NCCL", "B/s", "high")


def pairwise(context: Context) -> dict[Quantity, Values]:
    """Return the quantities that have valid values; a pair that could not be measured has none."""
    names = context.names

    def values(kind: type[T], read: Callable[[T], Values]) -> Values:
        found = context.find(kind)
        given = {} if isinstance(found, NoAnswer) else read(found)
        return {pair: value for pair, value in given.items() if isfinite(value) and value >= 0}

    quantities = {
        LATENCY: values(Reachability, lambda found: found.round_trips),
        BANDWIDTH: values(
            Bandwidth,
            lambda found: {(names[a], names[b]): f.rate for (a, b), f in found.flows.items()},
        ),
        GLOO: values(Gloo, lambda found: found.rates),
        NCCL: values(Nccl, lambda found: found.rates),
    }
    return {quantity: given for quantity, given in quantities.items() if given}
