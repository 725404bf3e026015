"""What was measured between nodes, from each to each, as far as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from orchestrator.preflight.collectives.measured import Gloo, Nccl
from orchestrator.preflight.interfaces.throughput import Bandwidth
from orchestrator.preflight.model import Context, NoAnswer
from orchestrator.preflight.reach.reachability import Reachability

Values = Mapping[tuple[str, str], float]
"""By (from, to)."""


@dataclass(frozen=True)
class Quantity:
    """Something that was measured between nodes: in `unit`, the better the nearer to the `good` end.

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
    """Return what has any values; a way that could not be tried has none, and nonsense is none."""
    found: dict[Quantity, Values] = {}
    if not isinstance(reached := context.find(Reachability), NoAnswer):
        found[LATENCY] = reached.round_trips
    if not isinstance(flowed := context.find(Bandwidth), NoAnswer):
        names = context.names
        found[BANDWIDTH] = {(names[a], names[b]): f.rate for (a, b), f in flowed.flows.items()}
    if not isinstance(gloo := context.find(Gloo), NoAnswer):
        found[GLOO] = gloo.rates
    if not isinstance(nccl := context.find(Nccl), NoAnswer):
        found[NCCL] = nccl.rates
    sound = {quantity: _sound(values) for quantity, values in found.items()}
    return {quantity: values for quantity, values in sound.items() if values}


def _sound(values: Values) -> Values:
    return {pair: value for pair, value in values.items() if isfinite(value) and value >= 0}
