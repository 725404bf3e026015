"""A run has a time limit under every controller, and may continue when a rank fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    OBEYING,
    Launch,
    controllers,
    copies,
    detached,
    latest,
    launch,
    orch,
    order_to_leave,
    processes_of_runs,
    record,
    run_name,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab

DIRECT = ("--launcher", "direct", "--preflight", "off")


def test_run_over_its_time_limit_is_stopped_with_124(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    began = time.monotonic()
    done = launch(lab3, *DIRECT, "--timeout", "4", script)
    assert done.returncode == 124, done.stderr
    assert time.monotonic() - began > 4
    said = record(lab3, run_name(done.stderr))
    assert (said["exit_code"], said["summary"]) == (124, "timed out after 4 s")
    assert said["verdict"] is None
    assert "asked to stop" in done.stdout
    assert processes_of_runs(lab3) == []


def test_time_limit_under_another_controller_counts_from_the_start(
    lab3: Lab, tmp_path: Path
) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab3, *DIRECT, "--timeout", "10", script)
    wait_for_copies(lab3, run, 3, "line 5\n")
    (controller,) = controllers(lab3, run)
    os.kill(controller, signal.SIGKILL)
    wait_until(lambda: controllers(lab3, run) == [])
    assert orch(lab3, "status", run).returncode == 0  # this starts another controller
    ended = wait_for_end(lab3, run)
    assert (ended["exit_code"], ended["summary"]) == (124, "timed out after 10 s")
    assert 9.5 < ended["ended"] - ended["began"] < 25
    assert processes_of_runs(lab3) == []


def test_on_failure_continue_keeps_the_first_failure_as_verdict(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with Launch(lab3, *DIRECT, "--on-failure", "continue", script) as running:
        for rank in range(3):
            running.wait_for_lines(1, f"r{rank} node{rank} │ line 5")
        run = latest(lab3)
        order_to_leave(lab3, run, 7, "node1")
        running.wait_for_lines(1, "r1 node1 │ leaving with 7")
        at = len((copies(lab3, run) / "node2/attempt-0/rank-2.out").read_bytes())
        log = copies(lab3, run) / "node2/attempt-0/rank-2.out"
        time.sleep(3)  # longer than stopped ranks would have
        assert log.stat().st_size > at
        order_to_leave(lab3, run, 5, "node0")
        order_to_leave(lab3, run, 0, "node2")
        assert running.end() == 7
    said = record(lab3, run)
    assert said["summary"] == "rank 1 on node1 exited with 7"
    assert (said["verdict"]["rank"], said["verdict"]["victims"]) == (1, [0])
