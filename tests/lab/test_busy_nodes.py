"""Launches on nodes that other runs use: reported, stopped by name, or waited for in a queue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import OBEYING, Launch, detached, launch, orch, order_to_leave, record, wait_until, write

pytestmark = pytest.mark.lab

DIRECT = ("--launcher", "direct", "--preflight", "off")


def test_second_launch_reports_the_user_and_queued_launches_start_in_order(
    lab3: Lab, tmp_path: Path
) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    short = write(tmp_path / "short", "short.py", "print('short')\n")
    first = detached(lab3, *DIRECT, script)
    before = _runs(lab3)
    assert re.fullmatch(r"obey-[a-z]{5}", first)

    beside = launch(lab3, *DIRECT, short)
    assert beside.returncode == 0, beside.stderr
    assert f"node[0-2] are in use by {first}, " in beside.stderr
    assert f"→ orch stop {first} stops it, --wait queues behind it" in beside.stderr

    with Launch(lab3, *DIRECT, "--wait", "--nodes", "node[0-1]", script) as second:
        _wait_for(second, f"node[0-1] are in use by {first}, ", "waiting, next in line")
        with Launch(lab3, *DIRECT, "--wait", "--nodes", "node[1-2]", short) as third:
            _wait_for(third, "waiting, 2nd in line")
            order_to_leave(lab3, first, 0)
            second.wait_for_lines(2, "up")
            assert third.process.poll() is None
            (late,) = [run for run in _runs(lab3) - before if run.startswith("obey-")]
            order_to_leave(lab3, late, 0)
            assert second.end() == 0
            assert third.end() == 0, third.err
            assert sum("short" in line for line in third.out) == 2


def test_interrupted_launch_leaves_the_queue(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    first = detached(lab3, *DIRECT, script)
    with Launch(lab3, *DIRECT, "--wait", script) as second:
        _wait_for(second, "waiting, next in line")
        assert second.interrupt() == 130
    assert orch(lab3, "stop", first).returncode == 0
    assert record(lab3, first)["outcome"] == "stopped"
    done = launch(
        lab3, *DIRECT, "--wait", write(tmp_path / "short", "short.py", "print('short')\n")
    )
    assert done.returncode == 0 and "in line" not in done.stderr


def test_stop_by_name_ends_the_orphans_of_a_run(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab3, *DIRECT, script)
    checked = orch(lab3, "preflight", "-i", lab3.inventory, "--only", "host.orphans")
    assert f"orch stop {run}" in checked.stdout + checked.stderr
    assert "kill " not in checked.stdout + checked.stderr
    order_to_leave(lab3, run, 0)
    wait_until(lambda: record(lab3, run)["state"] == "ended")


def _wait_for(launched: Launch, *texts: str) -> None:
    """Read its stderr until all of these texts have appeared; only the test's timeout limits the wait."""
    assert launched.process.stderr is not None
    said = ""
    while not all(text in said for text in texts):
        line = launched.process.stderr.readline().decode()
        assert line, f"orch ended: {said}"
        said += line


def _runs(lab: Lab) -> set[str]:
    """The names of all runs that the controller knows."""
    return {path.name for path in (lab.home / ".local/state/orch/runs").iterdir()}
