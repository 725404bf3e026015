"""`orch control`, as a person may start it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.kept import KeptRun


def test_keep_of_a_run_that_has_ended_returns_though_its_input_stays_open(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    KeptRun(tmp_path, "train-lusab").end()
    keeper = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "control", "train"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
    )  # fmt: skip
    try:
        assert keeper.wait(timeout=60) == 0  # its input is open, as of a terminal
    finally:
        keeper.kill()
        said, _ = keeper.communicate()
    assert said == b""
