"""Medians, ratios and verdicts of the numbers of single runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Series:
    """One quantity of one tool, run by run."""

    contender: str
    quantity: str
    unit: str
    values: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the median, the extremes, and every value in the order of the runs."""
        return {
            "contender": self.contender,
            "quantity": self.quantity,
            "unit": self.unit,
            "median": median(self.values),
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }


@dataclass(frozen=True)
class Bound:
    """A bound: the median of `values` must be at most `limit`."""

    what: str
    unit: str
    limit: float
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The number that is compared with the limit."""
        return median(self.values)

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.value <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Return the verdict with its numbers."""
        return {
            "what": self.what,
            "unit": self.unit,
            "value": self.value,
            "min": min(self.values),
            "max": max(self.values),
            "limit": self.limit,
            "met": self.met,
        }


@dataclass(frozen=True)
class Result:
    """The result of a case; `notes` explain how to read the numbers."""

    case: str
    title: str
    series: tuple[Series, ...]
    bounds: tuple[Bound, ...]
    notes: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether every bound holds."""
        return all(bound.met for bound in self.bounds)

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "case": self.case,
            "title": self.title,
            "series": [series.to_json() for series in self.series],
            "bounds": [bound.to_json() for bound in self.bounds],
            "notes": list(self.notes),
            "met": self.met,
        }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Return our value divided by theirs for each round, in which the load of the machine was similar.

    A single value of theirs is used for every round. Raises ValueError for other unequal lengths.
    """
    others = list(theirs) * len(ours) if len(theirs) == 1 else theirs
    return tuple(our / other for our, other in zip(ours, others, strict=True))
