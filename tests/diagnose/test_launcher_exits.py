"""Launchers tell in a line how a process ended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnose import Exit
from orchestrator.diagnose.label import Label
from orchestrator.diagnose.launcher_exits import exits_in

NOBODY = Label()

TOLD = {
    "srun: error: node3: task 12: Exited with exit code 3": [Exit(12, 3, "node3")],
    "srun: error: node3: tasks 0,4-5: Killed": [
        Exit(0, -9, "node3"),
        Exit(4, -9, "node3"),
        Exit(5, -9, "node3"),
    ],
    "srun: error: node3: task 1: Segmentation fault (core dumped)": [Exit(1, -11, "node3")],
    "srun: error: node3: task 1: Out Of Memory": [Exit(1, -9, "node3")],
    "[ERROR] [launch.py:324:sigkill_handler] ['python'] exits with return code = -11": [
        Exit(None, -11)
    ],
    "mpirun noticed that process rank 3 with PID 41 on node n1 exited on signal 9 (Killed).": [
        Exit(3, -9, "n1", 41, first=True)
    ],
}


@pytest.mark.parametrize(("line", "ends"), TOLD.items())
def test_how_ranks_ended_is_read(line: str, ends: list[Exit]) -> None:
    assert list(exits_in(line, NOBODY)) == ends


@pytest.mark.parametrize(
    "line",
    [
        "srun: error: Unable to create step for job 7: Job/step already completing",
        "srun: error: node3: task 1: Something Else",
        "the worker exits with return code = 3",
        "child exited on signal 9",
    ],
)
def test_other_lines_tell_nothing(line: str) -> None:
    assert list(exits_in(line, NOBODY)) == []


def test_the_node_that_a_line_came_from_is_that_of_its_rank() -> None:
    (end,) = exits_in("sigkill_handler] x exits with return code = 1", Label(node="node1"))
    assert end.node == "node1"


@given(st.from_regex(r"[0-9,-]{1,40}", fullmatch=True))
def test_numbers_of_any_size_are_read_in_bounded_memory(ranks: str) -> None:
    assert len(list(exits_in(f"srun: error: n: tasks {ranks}: Killed", NOBODY))) <= 4096 + 40
