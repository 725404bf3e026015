"""`orch control`, started by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.fake_run import FakeRun


def test_control_of_an_ended_run_returns_with_open_input(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    FakeRun(tmp_path, "train-lusab").end()
    controller = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "control", "train"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
    )  # fmt: skip
    try:
        assert controller.wait(timeout=60) == 0  # its input is open, as at a terminal
    finally:
        controller.kill()
        said, _ = controller.communicate()
    assert said == b""
