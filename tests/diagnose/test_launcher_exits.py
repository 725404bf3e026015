"""How a process ended, from the line of a launcher."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnose import Exit
from orchestrator.diagnose.label import Label
from orchestrator.diagnose.launcher_exits import exits_in

NO_LABEL = Label()

LINES = {
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


@pytest.mark.parametrize(("line", "ends"), LINES.items())
def test_exits_in_reads_lines_of_launchers(line: str, ends: list[Exit]) -> None:
    assert list(exits_in(line, NO_LABEL)) == ends


@pytest.mark.parametrize(
    "line",
    [
        "srun: error: Unable to create step for job 7: Job/step already completing",
        "srun: error: node3: task 1: Something Else",
        "the worker exits with return code = 3",
        "child exited on signal 9",
    ],
)
def test_exits_in_ignores_other_lines(line: str) -> None:
    assert list(exits_in(line, NO_LABEL)) == []


def test_exits_in_takes_the_node_of_the_line() -> None:
    (end,) = exits_in("sigkill_handler] x exits with return code = 1", Label(node="node1"))
    assert end.node == "node1"


@given(st.from_regex(r"[0-9,-]{1,40}", fullmatch=True))
def test_exits_in_yields_a_limited_number_of_ranks(ranks: str) -> None:
    assert len(list(exits_in(f"srun: error: n: tasks {ranks}: Killed", NO_LABEL))) <= 4096 + 40


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Signal 7 (SIGBUS) received by PID 4711", -7),
        ("E1201 api.py:882] failed (exitcode: -7) local_rank: 1 (pid: 4711) of binary: python3", -7),
        ("systemd[1]: train.service: Main process exited, code=killed, status=7/BUS", -7),
        ("systemd[1]: train.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED", 3),
        ("      Exit Code:    135", 135),
        ("command terminated with exit code 137", 137),
        ("Process 7 terminated with exit code -9", -9),
        ("subprocess.CalledProcessError: Command 'x' died with <Signals.SIGKILL: 9>.", -9),
        ("[ERROR] Worker (pid:12) was sent SIGKILL! Perhaps out of memory?", -9),
        ("container exited with code 139", 139),
    ],
)  # fmt: skip
def test_exit_of_any_spelling_is_read(text: str, code: int) -> None:
    assert [end.code for end in exits_in(text, Label())] == [code]


@pytest.mark.parametrize(
    "text", ["git exited with code 128", "exit code 0", "exit status 1", "code 137"]
)
def test_exit_code_of_another_program_is_not_one_of_a_rank(text: str) -> None:
    assert [*exits_in(text, Label())] == []
