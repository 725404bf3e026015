"""Draws of two faults over a short job: whatever happens, what is said of it is true and nothing is left.

A seed decides a draw. ORCH_SOAK=1000 takes that many instead of 30, ORCH_SOAK_FIRST=S those from S on. One
draw again, or many of them on many processes:

    ORCH_SOAK=1 ORCH_SOAK_FIRST=417 pytest tests/lab/soak/test_soak.py
    ORCH_SOAK=1000 pytest --numprocesses 6 --dist load tests/lab/soak/test_soak.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from labkit.lab import Lab

from .draw import draw
from .oracle import objections
from .play import Play
from .report import one_line, report

pytestmark = pytest.mark.lab

_FIRST = int(os.environ.get("ORCH_SOAK_FIRST", "0"))
_COUNT = int(os.environ.get("ORCH_SOAK", "30"))


@pytest.mark.timeout(
    400
)  # a run that does not end is reported by the oracle, with all that is known
@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + _COUNT))
def test_two_faults_leave_a_true_verdict_and_nothing_else(
    seed: int,
    make_lab: Callable[..., Lab],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    drawn = draw(seed, has_torch=find_spec("torch") is not None)
    lab = make_lab(drawn.job.nodes)
    began = time.monotonic()
    evidence = Play(lab, tmp_path, drawn).run()
    line = one_line(evidence, time.monotonic() - began)
    record_property("draw", line)
    found = objections(evidence)
    if found:
        pytest.fail(report(evidence, line, found), pytrace=False)
