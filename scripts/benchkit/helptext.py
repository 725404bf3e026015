"""`orch --help`: the time to import and print."""

from __future__ import annotations

import sys

from labkit.lab import Lab

from benchkit.measure import ORCH, cost
from benchkit.numbers import Bound, Result, Series


def run(lab: Lab, runs: int) -> Result:
    """Measure, compared with a Python that does nothing."""
    cost(lab, [*ORCH, "--help"])  # into the page cache
    ours, floor = [], []
    for _ in range(runs):
        ours.append(cost(lab, [*ORCH, "--help"], until=b"launch"))
        floor.append(cost(lab, [sys.executable, "-c", "print()"]))
    cpu = tuple(one.cpu for one in ours)
    return Result(
        "help",
        "orch --help",
        (
            Series("orch --help", "wall", "s", tuple(one.wall for one in ours)),
            Series("python -c 'print()'", "wall", "s", tuple(one.wall for one in floor)),
            Series("orch --help", "CPU", "s", cpu),
            Series("python -c 'print()'", "CPU", "s", tuple(one.cpu for one in floor)),
        ),
        (Bound("orch --help: CPU", "s", 0.15, cpu),),
    )
