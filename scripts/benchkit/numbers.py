"""From the numbers of single runs to medians, ratios and verdicts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Series:
    """One quantity of one contender, run by run."""

    contender: str
    quantity: str
    unit: str
    values: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The median, the extremes, and every value in the order of the runs."""
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
    """What must hold: the median of `values` is at most `limit`."""

    what: str
    unit: str
    limit: float
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The number that is held against the limit."""
        return median(self.values)

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.value <= self.limit

    def to_json(self) -> dict[str, Any]:
        """The verdict with its numbers."""
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
    """What a case found; `notes` say what a reader must know to read the numbers right."""

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
        """Everything."""
        return {
            "case": self.case,
            "title": self.title,
            "series": [series.to_json() for series in self.series],
            "bounds": [bound.to_json() for bound in self.bounds],
            "notes": list(self.notes),
            "met": self.met,
        }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Our value over theirs of the same round, as the machine's load was much the same in both.

    A single value of theirs serves for every round. Raises ValueError for other unequal lengths.
    """
    others = list(theirs) * len(ours) if len(theirs) == 1 else theirs
    return tuple(our / other for our, other in zip(ours, others, strict=True))
