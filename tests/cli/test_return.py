"""`orch launch --detach`, `attach`, `stop`: leave a run, and come back to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest

from orchestrator.runs.lock import find_controller

from .kept import KeptRun
from .orch import Complete, Orch

SCRIPT = """\
import time
for step in range(10_000):
    print("step", step, flush=True)
    time.sleep(0.05)
"""

Launch = Callable[[], str]


@pytest.fixture
def launch(orch: Orch, tmp_path: Path) -> Iterator[Launch]:
    """Launch a job of two nodes that goes on by itself, and return the run's name."""
    (tmp_path / "t.py").write_text(SCRIPT)

    def detached() -> str:
        done = orch(
            "launch", "--local", "2", "--launcher", "direct", "--preflight", "off", "-d", "t.py"
        )
        assert done.returncode == 0, done.stderr
        run, end, rest = done.stdout.partition("\n")
        assert (end, rest) == ("\n", ""), "stdout has the name alone: RUN=$(orch launch -d ...)"
        assert f"orch attach {run}" in done.stderr
        return run

    yield detached
    orch("stop", "--all", "--grace", "0")


Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(tmp_path: Path, environment: dict[str, str]) -> Iterator[Begin]:
    """Begin a command that shows a run, and return when it shows something; it has a minute."""
    with ExitStack() as stack:

        def started(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *words],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                cwd=tmp_path,
            )  # fmt: skip
            stack.enter_context(process)
            stack.callback(process.kill)
            too_long = Timer(60, process.kill)
            too_long.start()
            stack.callback(too_long.cancel)
            assert process.stdout is not None
            assert "│ step" in process.stdout.readline()
            return process

        yield started


def ended(orch: Orch, run: str) -> bool:
    state = re.search(rf"run {re.escape(run)}: (\w+)", orch("status", run).stdout)
    return state is not None and state[1] in ("succeeded", "failed", "stopped", "lost")


def test_a_detached_run_goes_on_and_is_stopped_from_anywhere(orch: Orch, launch: Launch) -> None:
    run = launch()
    assert "step" in wait_for_output(orch, run)
    assert not ended(orch, run)
    done = orch("stop")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"run {run} is over: stopped by orch stop" in done.stderr
    assert ended(orch, run)
    again = orch("stop", run[:4])
    assert (again.returncode, again.stdout) == (0, "")
    assert f"run {run} has ended already: stopped by orch stop" in again.stderr


def test_a_run_that_is_deaf_has_the_grace_that_whoever_stops_it_gives(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    (tmp_path / "t.py").write_text(f"import signal\nsignal.signal(15, signal.SIG_IGN)\n{SCRIPT}")
    run = launch()
    wait_for_output(orch, run)
    began = time.monotonic()
    done = orch("stop", "--grace", "1")
    assert done.returncode == 0
    assert 1 < time.monotonic() - began < 8, "by itself it would have had ten seconds"
    assert "stopping all ranks, 1 s of grace" in done.stderr
    assert orch("status", run).stdout.count("SIGKILL") == 2


def test_all_runs_are_stopped_at_once(orch: Orch, launch: Launch) -> None:
    runs = [launch(), launch()]
    done = orch("stop", "--all")
    assert done.returncode == 0
    assert all(f"run {run} is over" in done.stderr for run in runs)
    assert "no active runs" in orch("stop", "--all").stderr


def test_ctrl_c_ends_the_looking_of_logs_and_nothing_else(
    orch: Orch, launch: Launch, begin: Begin
) -> None:
    run = launch()
    process = begin("logs", "-f")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not ended(orch, run)


def test_the_last_lines_that_match_are_shown_at_once_and_then_those_that_come(
    orch: Orch, launch: Launch, begin: Begin
) -> None:
    run = launch()
    deadline = time.monotonic() + 20
    while "step 15" not in wait_for_output(orch, run):
        assert time.monotonic() < deadline
    with begin("logs", "-f", "--rank", "0", "--tail", "2", "--grep", "5$") as process:
        assert process.stdout
        second, third = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
    steps = [int(line.split()[-1]) for line in (second, third)]
    assert steps[0] % 10 == 5 and steps[1] == steps[0] + 10


def test_logs_that_follow_end_with_the_run(orch: Orch, launch: Launch, begin: Begin) -> None:
    run = launch()
    with begin("logs", "-f", "--rank", "1") as process:
        orch("stop")
        assert process.stdout and process.stderr
        lines = ["r1 local1 │ step 0\n", *process.stdout]
        assert f"✗ run {run}: stopped by orch stop" in process.stderr.read()
    assert process.returncode == 0
    assert lines == [f"r1 local1 │ step {number}\n" for number in range(len(lines))]


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (signal.SIGINT, 130, "stopped by"),
        (signal.SIGQUIT, 0, "continues in the background"),
        (signal.SIGHUP, 0, "continues in the background"),
    ],
)
def test_who_is_attached_stops_the_run_or_leaves_it(
    orch: Orch, launch: Launch, begin: Begin, number: int, code: int, told: str
) -> None:
    run = launch()
    process = begin("attach", "--tail", "1")
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert told in err
    assert ended(orch, run) == (number == signal.SIGINT)


def test_who_leaves_a_run_and_then_interrupts_it_has_it_stopped(
    orch: Orch, begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "t.py").write_text(SCRIPT)
    words = ("--local", "1", "--launcher", "direct", "--preflight", "off", "t.py")
    process = begin("launch", *words)
    (folder,) = (tmp_path / ".local/state/orch/runs").iterdir()
    process.send_signal(signal.SIGQUIT)
    deadline = time.monotonic() + 20
    while (
        find_controller(folder) is not None
    ):  # the one to which it is handed over is not there yet
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"run {folder.name} is stopped in the background" in err
    assert "goes on" not in err
    while not ended(orch, folder.name):
        assert time.monotonic() < deadline
    assert "stopped by an interrupt" in orch("status").stdout


def test_a_run_whose_keeper_was_killed_is_taken_up_again(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    run = launch()
    folder = tmp_path / ".local/state/orch/runs" / run
    controller = find_controller(folder)
    assert controller is not None and controller.background
    os.kill(controller.pid, signal.SIGKILL)
    done = orch("logs", "--tail", "1")
    assert "│ step" in done.stdout
    assert f"run {run} had no controller; it has one again" in done.stderr
    again = find_controller(folder)
    assert again is not None and again.pid != controller.pid


def test_background_controller_logs_what_it_does_in_the_runs_folder(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    run = launch()
    log = tmp_path / ".local/state/orch/runs" / run / "controller.log"
    assert orch("stop", run, "--grace", "0").returncode == 0
    found = log.read_text()
    assert re.search(r"^\S+ INFO orch\.ssh local0: connected to ", found, re.MULTILINE)
    assert re.search(r"^\S+ INFO orch\.run: stopping all ranks \(", found, re.MULTILINE)
    assert re.search(rf"^\S+ INFO orch\.run: run {run} ended after ", found, re.MULTILINE)
    assert "DEBUG" not in found
    assert log.stat().st_mode & 0o777 == 0o600


def test_six_commands_at_once_start_one_controller(
    launch: Launch, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = launch()
    folder = tmp_path / ".local/state/orch/runs" / run
    log = folder / "controller.log"
    before = log.read_text().count("starts a controller")
    controller = find_controller(folder)
    assert controller is not None
    os.kill(controller.pid, signal.SIGKILL)
    looking = [
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", command, run],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for command in ("status", "logs") * 3
    ]  # fmt: skip
    said = [process.communicate(timeout=100)[1] for process in looking]
    assert [process.returncode for process in looking] == [0] * 6, said
    assert log.read_text().count("starts a controller") == before + 1
    assert find_controller(folder) is not None


def test_logs_that_were_missing_are_fetched(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("for step in range(1000): print('step', step)")
    done = orch("launch", "--local", "2", "--launcher", "direct", "--preflight", "off", "t.py")
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.rglob("run.json")
    copy = record.parent / "logs/local1/attempt-0/rank-1.out"
    whole = copy.read_bytes()
    os.truncate(copy, 5000)
    record.write_text(json.dumps({**json.loads(record.read_text()), "missing": ["local1"]}))
    done = orch("logs", "--rank", "1", "--output", "raw")
    assert done.stdout == whole.decode()
    assert done.stderr in ("", "orch: waiting for local1\n")  # said when it takes over a second
    assert copy.read_bytes() == whole
    assert json.loads(record.read_text())["missing"] == []


def test_attaching_to_a_run_that_has_ended_tells_how_and_exits_so(
    orch: Orch, tmp_path: Path
) -> None:
    run = KeptRun(tmp_path)
    for number in range(20):
        run.say(0, f"line {number}\n", number)
    run.end(3)
    done = orch("attach")
    assert done.returncode == 3
    assert done.stdout.splitlines() == [f"r0 n0 │ line {number}" for number in range(10, 20)]
    assert "✗ run lusab-babad: rank 1 on n0 exited with 3 after 5.0 s" in done.stderr
    assert "Ctrl-C" not in done.stderr


@pytest.mark.parametrize("words", [["attach", "none"], ["stop", "none"], ["stop", "x", "--all"]])
def test_a_wrong_name_is_a_mistake(orch: Orch, words: list[str]) -> None:
    done = orch(*words)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("command", ["logs", "attach", "stop", "status"])
def test_names_of_runs_are_completed(tmp_path: Path, complete: Complete, command: str) -> None:
    KeptRun(tmp_path, "lusab-babad").end()
    KeptRun(tmp_path, "dodod-dodod").end()
    assert complete(f"{command} lu") == ["lusab-babad"]


def wait_for_output(orch: Orch, run: str) -> str:
    deadline = time.monotonic() + 20
    while not (shown := orch("logs", run).stdout):
        assert time.monotonic() < deadline, "it prints nothing"
    return shown
