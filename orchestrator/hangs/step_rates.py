"""How fast each rank advances, by the step numbers that it prints. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.logs.metrics import metrics
from orchestrator.logs.sanitize import without_colour

_STEP = re.compile(r"(?:\w{1,40}[_ /])?(?:steps?|iter(?:ation)?s?|batch)", re.IGNORECASE)
_LEADING_NUMBER = re.compile(r"\d{1,15}")
_MAX_TAIL = 2000  # bytes of the latest output that are searched
_MIN_TIME, _MAX_TIME = 40.0, 120.0  # seconds that are compared
_MIN_POINTS = 6
_SLOWER = 0.75  # of the speed of the slowest other rank


@dataclass(frozen=True)
class SlowSteps:
    """A rank that makes `rate` steps a second, while the slowest other rank makes `usual`."""

    rank: int
    rate: float
    usual: float

    def __str__(self) -> str:
        return f"{self.rate:.2g} steps a second, the others {self.usual:.2g}"


class StepRates:
    """The step numbers of each rank, and when it printed them."""

    def __init__(self) -> None:
        self._tails: dict[int, tuple[float, bytes]] = {}
        self._points: dict[int, deque[tuple[float, int]]] = {}

    def note(self, rank: int, data: bytes, at: float) -> None:
        """Take in output that a rank printed at `at` (seconds); it is only searched by `advance`."""
        _, tail = self._tails.get(rank, (at, b""))
        self._tails[rank] = (at, (tail + data[-_MAX_TAIL:])[-_MAX_TAIL:])

    def advance(self) -> None:
        """Read the latest step numbers from the output since the last call."""
        for rank, (at, tail) in self._tails.items():
            if not tail:
                continue
            number = _last_step(tail)
            self._tails[rank] = (at, tail.rpartition(b"\n")[2])
            if number is None:
                continue
            points = self._points.setdefault(rank, deque())
            if points and number < points[-1][1]:
                points.clear()  # another epoch
            if not points or number > points[-1][1]:
                points.append((at, number))
            while at - points[0][0] > _MAX_TIME:
                points.popleft()

    def forget(self) -> None:
        """Start again: the ranks are others."""
        self._tails.clear()
        self._points.clear()

    def usual(self) -> float | None:
        """Return the steps a second that a middle rank makes; None if no rank prints its steps."""
        rates = sorted(rate for points in self._points.values() if (rate := _rate(points)))
        return rates[len(rates) // 2] if rates else None

    def find_slow(self, count: int) -> SlowSteps | None:
        """Return the rank that has been clearly slower than all others of `count`, all the time."""
        rates = self._rates()
        if len(rates) < count or count < 2:
            return None
        (rank, rate), (_, next_rate) = sorted(rates.items(), key=lambda item: item[1][0])[:2]
        halves = [
            all(rate[half] < _SLOWER * each[half] for other, each in rates.items() if other != rank)
            for half in range(3)
        ]
        return SlowSteps(rank, rate[0], next_rate[0]) if all(halves) else None

    def _rates(self) -> Mapping[int, tuple[float, float, float]]:
        """Return the rate in the whole time and in both halves of it, of ranks with enough of them."""
        found = {}
        for rank, points in self._points.items():
            if len(points) < _MIN_POINTS or points[-1][0] - points[0][0] < _MIN_TIME:
                continue
            middle = (points[0][0] + points[-1][0]) / 2
            split = sum(at <= middle for at, _ in points)
            first, second = list(points)[:split], list(points)[split - 1 :]
            rates = _rate(points), _rate(first), _rate(second)
            if rates[0] is not None and rates[1] is not None and rates[2] is not None:
                found[rank] = (rates[0], rates[1], rates[2])
        return found


def _rate(points: deque[tuple[float, int]] | list[tuple[float, int]]) -> float | None:
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return None
    return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])


def _last_step(tail: bytes) -> int | None:
    """Return the step number of the last whole line that has one."""
    lines = re.split(rb"[\r\n]+", tail)[:-1]
    for line in reversed(lines[-8:]):
        for name, value in metrics(without_colour(line.decode(errors="replace"))):
            if _STEP.fullmatch(name) and (match := _LEADING_NUMBER.match(value.replace(",", ""))):
                return int(match[0])
    return None
