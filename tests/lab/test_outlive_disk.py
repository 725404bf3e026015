"""A full disk on the controller: the run continues, and its logs are fetched once there is space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import orch, wait_until
from .steps import Stepping

pytestmark = pytest.mark.lab


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Two hosts, and a controller with little space for logs."""
    lab = make_lab(2)
    state(lab).mkdir(parents=True)
    mount(lab, "-t", "tmpfs", "-o", "size=16m", "none")
    return lab


def state(lab: Lab) -> Path:
    return lab.home / ".local/state"


def mount(lab: Lab, *words: str) -> None:
    done = lab.run(["mount", *words, str(state(lab))])
    assert done.returncode == 0, done.stderr


def make_room(lab: Lab) -> None:
    mount(lab, "-o", "remount,size=1g")


def test_logs_are_complete_once_a_full_disk_has_space(lab: Lab, tmp_path: Path) -> None:
    with Stepping(lab, tmp_path) as job:
        calm = job.run_for(2)
        wait_until(lambda: "cannot be stored here: No space left on device" in job.said)
        trouble = job.run_for(5)
        make_room(lab)
        wait_until(lambda: job.said.count("are stored here again, without a gap") == 2)
        job.enough()
        assert job.process.wait(60) == 0, job.said
    assert (job.record["state"], job.record["exit_code"]) == ("ended", 0)
    job.assert_every_byte_is_here()
    job.assert_no_rank_waited(calm, trouble)


def test_logs_that_did_not_fit_at_the_end_are_fetched_later(lab: Lab, tmp_path: Path) -> None:
    with Stepping(lab, tmp_path) as job:
        wait_until(lambda: "cannot be stored here: No space left on device" in job.said)
        job.enough()
        assert job.process.wait(60) == 0, job.said
    assert "are not complete here" in job.said
    make_room(lab)
    shown = orch(lab, "logs", "--tail", "1", job.run)
    assert shown.returncode == 0, shown.stderr
    assert (job.record["state"], job.record["exit_code"]) == ("ended", 0)
    assert job.record["missing"] == []
    job.assert_every_byte_is_here()
