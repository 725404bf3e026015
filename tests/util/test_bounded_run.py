"""Programs of this machine end in time, and leave nothing running."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator.util.bounded_run import RunFailed, run_bounded


def test_run_gives_exit_code_and_both_outputs() -> None:
    ended = run_bounded(["sh", "-c", "cat; echo a; echo b >&2; exit 3"], timeout=30, max_bytes=10)
    assert ended == (3, b"a\n", b"b\n")


def test_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(RunFailed, match=r"sh did not end within 0.5 s"):
        run_bounded(["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"], timeout=0.5, max_bytes=10)
    deadline = time.monotonic() + 30
    while _is_running(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_child_left_in_the_background_does_not_delay_and_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    run_bounded(["sh", "-c", f"sleep 600 & echo $! > {pid}"], timeout=60, max_bytes=10)
    deadline = time.monotonic() + 30
    while _is_running(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["sh", "-c", "echo 0123456789"], "printed more than 10 bytes"),
        (["/nonexistent/program"], "cannot be started: No such file"),
    ],
)
def test_run_that_fails_says_why(argv: list[str], words: str) -> None:
    with pytest.raises(RunFailed, match=words):
        run_bounded(argv, timeout=30, max_bytes=10)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
