"""`orch launch --detach`, `attach`, `stop`: leave a run, and return to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.runs.lock import Controller, find_controller
from tests.warm import Running, Warm

from .conftest import new_environment
from .fake_run import FakeRun
from .orch import Complete, Orch

pytestmark = pytest.mark.cluster

SCRIPT = """\
import time
for step in range(10_000):
    print("step", step, flush=True)
    time.sleep(0.05)
"""
LAUNCH = ("launch", "--launcher", "direct", "--preflight", "off")

Launch = Callable[..., str]
Start = Callable[..., Running]


def launch_detached(orch: Orch, folder: Path, nodes: int) -> str:
    """Launch a job that runs until it is stopped, and return the run's name."""
    script = folder / "t.py"
    if not script.exists():
        script.write_text(SCRIPT)
    done = orch(*LAUNCH, "--local", str(nodes), "-d", "t.py")
    assert done.returncode == 0, done.stderr
    run, end, rest = done.stdout.partition("\n")
    assert (end, rest) == ("\n", ""), "stdout has the name alone: RUN=$(orch launch -d ...)"
    assert f"orch attach {run}" in done.stderr
    return run


@pytest.fixture
def launch(orch: Orch, tmp_path: Path) -> Iterator[Launch]:
    """Launch a job in the background, and return the run's name; it is stopped after the test."""
    yield lambda nodes=1: launch_detached(orch, tmp_path, nodes)
    orch("stop", "--all", "--grace", "0")


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str], warm: Warm) -> Iterator[Start]:
    """Start a command that shows a run, and return once it shows something."""
    with ExitStack() as stack:
        yield lambda *words: started(stack, warm, words, environment, tmp_path)


def started(
    stack: ExitStack, warm: Warm, words: tuple[str, ...], environment: dict[str, str], folder: Path
) -> Running:
    running = warm.start([*words], environment, folder)
    stack.callback(running.kill)
    assert "│ step" in running.stdout.readline()
    return running


class ActiveRun:
    """A run of two nodes that tests share, since none of them ends it."""

    def __init__(self, folder: Path, environment: dict[str, str], warm: Warm) -> None:
        self._folder, self._environment, self._warm = folder, environment, warm
        self._stack = ExitStack()
        self.name = launch_detached(self.orch, folder, 2)
        self.folder = folder / ".local/state/orch/runs" / self.name

    def orch(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return self._warm.run([*words], self._environment, self._folder)

    def start(self, *words: str) -> Running:
        """Start a command that shows the run, and return once it shows something."""
        return started(self._stack, self._warm, words, self._environment, self._folder)

    def kill_controller(self) -> Controller:
        """Kill the run's controller, and return which it was."""
        controller = find_controller(self.folder)
        assert controller is not None and controller.background
        os.kill(controller.pid, signal.SIGKILL)
        return controller

    def close(self) -> None:
        """Stop the run."""
        self._stack.close()
        self.orch("stop", "--all", "--grace", "0")


@pytest.fixture(scope="module")
def active(
    tmp_path_factory: pytest.TempPathFactory, used_home: Path, warm: Warm
) -> Iterator[ActiveRun]:
    folder = tmp_path_factory.mktemp("active")
    environment = new_environment(folder, tmp_path_factory.mktemp("home"), used_home)
    run = ActiveRun(folder, environment, warm)
    yield run
    run.close()


def ended(orch: Orch, run: str) -> bool:
    state = re.search(rf"run {re.escape(run)}: (\w+)", orch("status", run).stdout)
    return state is not None and state[1] in ("succeeded", "failed", "stopped", "lost")


def test_detached_run_continues_and_is_stopped_from_anywhere(orch: Orch, launch: Launch) -> None:
    run = launch(2)
    assert "step" in wait_for_output(orch, run)
    assert not ended(orch, run)
    done = orch("stop")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"run {run} is over: stopped by orch stop" in done.stderr
    assert ended(orch, run)
    again = orch("stop", run[:4])
    assert (again.returncode, again.stdout) == (0, "")
    assert f"run {run} has ended already: stopped by orch stop" in again.stderr


def test_stop_with_a_grace_replaces_that_of_the_launch(
    orch: Orch, launch: Launch, tmp_path: Path
) -> None:
    (tmp_path / "t.py").write_text(f"import signal\nsignal.signal(15, signal.SIG_IGN)\n{SCRIPT}")
    run = launch(2)
    wait_for_output(orch, run)
    began = time.monotonic()
    done = orch("stop", "--grace", "1")
    assert done.returncode == 0
    assert 1 < time.monotonic() - began < 8, "by itself it would have had ten seconds"
    assert "stopping all ranks, 1 s of grace" in done.stderr
    assert orch("status", run).stdout.count("SIGKILL") == 2


def test_stop_all_stops_every_run(orch: Orch, launch: Launch) -> None:
    runs = [launch(), launch()]
    done = orch("stop", "--all")
    assert done.returncode == 0
    assert all(f"run {run} is over" in done.stderr for run in runs)
    assert "no active runs" in orch("stop", "--all").stderr


def test_ctrl_c_ends_logs_and_not_the_run(active: ActiveRun) -> None:
    logs = active.start("logs", "-f")
    logs.send_signal(signal.SIGINT)
    logs.wait(30)
    assert logs.returncode == 130
    assert not ended(active.orch, active.name)


def test_logs_show_the_last_matching_lines_at_once_and_then_new_ones(active: ActiveRun) -> None:
    deadline = time.monotonic() + 20
    while "step 15" not in wait_for_output(active.orch, active.name):
        assert time.monotonic() < deadline
    logs = active.start("logs", "-f", "--rank", "0", "--tail", "2", "--grep", "5$")
    second, third = logs.stdout.readline(), logs.stdout.readline()
    logs.send_signal(signal.SIGINT)
    logs.wait(30)
    steps = [int(line.split()[-1]) for line in (second, third)]
    assert steps[0] % 10 == 5 and steps[1] == steps[0] + 10


def test_followed_logs_end_with_the_run(orch: Orch, launch: Launch, start: Start) -> None:
    run = launch(2)
    logs = start("logs", "-f", "--rank", "1")
    orch("stop")
    lines = ["r1 local1 │ step 0\n", *logs.stdout]
    assert f"✗ run {run}: stopped by orch stop" in logs.wait()
    assert logs.returncode == 0
    assert lines == [f"r1 local1 │ step {number}\n" for number in range(len(lines))]


def test_ctrl_c_in_attach_stops_the_run(orch: Orch, launch: Launch, start: Start) -> None:
    run = launch()
    attach = start("attach", "--tail", "1")
    attach.send_signal(signal.SIGINT)
    assert "stopped by" in attach.wait(30)
    assert attach.returncode == 130
    assert ended(orch, run)


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGHUP])
def test_attach_that_is_left_leaves_the_run_running(active: ActiveRun, number: int) -> None:
    attach = active.start("attach", "--tail", "1")
    attach.send_signal(number)
    assert "continues in the background" in attach.wait(30)
    assert attach.returncode == 0
    assert not ended(active.orch, active.name)


def test_interrupt_after_leaving_stops_the_run(orch: Orch, start: Start, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(SCRIPT)
    launch = start(*LAUNCH, "--local", "1", "t.py")
    (folder,) = (tmp_path / ".local/state/orch/runs").iterdir()
    launch.send_signal(signal.SIGQUIT)
    deadline = time.monotonic() + 20
    while find_controller(folder) is not None:  # until the background controller has started
        assert time.monotonic() < deadline
    launch.send_signal(signal.SIGINT)
    err = launch.wait(30)
    assert launch.returncode == 130
    assert f"run {folder.name} is stopped in the background" in err
    assert "continues" not in err
    while not ended(orch, folder.name):
        assert time.monotonic() < deadline
    assert "stopped by an interrupt" in orch("status").stdout


def test_logs_replace_a_controller_that_was_killed(active: ActiveRun) -> None:
    killed = active.kill_controller()
    done = active.orch("logs", "--tail", "1")
    assert "│ step" in done.stdout
    assert f"run {active.name} had no controller; it has one again" in done.stderr
    controller = find_controller(active.folder)
    assert controller is not None and controller.pid != killed.pid


def test_six_commands_at_once_start_one_controller(active: ActiveRun) -> None:
    log = active.folder / "controller.log"
    before = log.read_text().count("starts a controller")
    active.kill_controller()
    with ThreadPoolExecutor(6) as pool:
        commands = ("status", "logs") * 3
        results = list(pool.map(lambda command: active.orch(command, active.name), commands))
    assert [done.returncode for done in results] == [0] * 6, [done.stderr for done in results]
    assert log.read_text().count("starts a controller") == before + 1
    assert find_controller(active.folder) is not None


def test_background_controller_logs_to_the_folder_of_the_run(
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


def test_missing_logs_are_fetched(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("for step in range(1000): print('step', step)")
    done = orch(*LAUNCH, "--local", "2", "t.py")
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.rglob("run.json")
    copy = record.parent / "logs/local1/attempt-0/rank-1.out"
    whole = copy.read_bytes()
    os.truncate(copy, 5000)
    record.write_text(json.dumps({**json.loads(record.read_text()), "missing": ["local1"]}))
    done = orch("logs", "--rank", "1", "--output", "raw")
    assert done.stdout == whole.decode()
    assert done.stderr in ("", "orch: waiting for local1\n")  # printed after a second
    assert copy.read_bytes() == whole
    assert json.loads(record.read_text())["missing"] == []


def test_attach_to_an_ended_run_shows_its_end_and_exits_with_its_code(
    orch: Orch, tmp_path: Path
) -> None:
    run = FakeRun(tmp_path)
    for number in range(20):
        run.write(0, f"line {number}\n", number)
    run.end(3)
    done = orch("attach")
    assert done.returncode == 3
    assert done.stdout.splitlines() == [f"r0 n0 │ line {number}" for number in range(10, 20)]
    assert "✗ run lusab-babad: rank 1 on n0 exited with 3 after 5.0 s" in done.stderr
    assert "Ctrl-C" not in done.stderr


@pytest.mark.parametrize("words", [["attach", "none"], ["stop", "none"], ["stop", "x", "--all"]])
def test_wrong_name_of_a_run_is_a_usage_error(orch: Orch, words: list[str]) -> None:
    done = orch(*words)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("command", ["logs", "attach", "stop", "status"])
def test_names_of_runs_are_completed(tmp_path: Path, complete: Complete, command: str) -> None:
    FakeRun(tmp_path, "lusab-babad").end()
    FakeRun(tmp_path, "dodod-dodod").end()
    assert complete(f"{command} lu") == ["lusab-babad"]


def wait_for_output(orch: Orch, run: str) -> str:
    deadline = time.monotonic() + 20
    while not (shown := orch("logs", run).stdout):
        assert time.monotonic() < deadline, "it prints nothing"
    return shown
