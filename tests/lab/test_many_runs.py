"""Many simultaneous runs on the same nodes, and many readers of one run."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    OBEYING,
    ORCH,
    Attach,
    Launch,
    controllers,
    copies,
    detached,
    latest,
    orch,
    order_to_leave,
    processes_of_runs,
    record,
    unlike,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab

WHO_AM_I = OBEYING.replace(
    'print("up", flush=True)',
    'print("run", os.environ["ORCH_RUN"], "port", os.environ["MASTER_PORT"], flush=True)',
).replace('"line", number', 'os.environ["ORCH_RUN"], number')


def folder(lab: Lab, run: str) -> Path:
    return lab.home / ".local/state/orch/runs" / run


def test_ten_simultaneous_runs_are_independent(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "who.py", WHO_AM_I)

    def launch(number: int) -> str:
        return detached(lab3, "--launcher", "direct", "--name", f"ten{number}", script)

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(launch, range(10)))
    for run in runs:
        wait_for_copies(lab3, run, 3, f"{run} 20\n")
    ports = set()
    for run in runs:
        for path in copies(lab3, run).glob("*/*/rank-*.out"):
            first, *rest = path.read_text().splitlines()[:-1]
            found = re.fullmatch(rf"run {re.escape(run)} port ([0-9]+)", first)
            assert found, first
            ports.add((run, found[1]))
            assert all(line.startswith(f"{run} ") for line in rest), path
    assert len(ports) == len({port for _, port in ports}) == 10
    stopped, failing, others = runs[:5], runs[5], runs[6:]
    with ThreadPoolExecutor(5) as pool:
        done = list(pool.map(lambda run: orch(lab3, "stop", run), stopped))
    assert [one.returncode for one in done] == [0] * 5, done
    order_to_leave(lab3, failing, 7, "node1")
    assert wait_for_end(lab3, failing)["exit_code"] == 7
    for run in stopped:
        ended = wait_for_end(lab3, run)
        assert (ended["exit_code"], ended["summary"]) == (130, "stopped by orch stop")
        assert processes_of_runs(lab3, run) == []
    for run in others:
        assert record(lab3, run)["state"] == "running"
        order_to_leave(lab3, run, 0)
    for run in others:
        ended = wait_for_end(lab3, run)
        assert (ended["exit_code"], ended["summary"]) == (0, "all 3 ranks succeeded")
        said = [path.read_text() for path in copies(lab3, run).glob("*/*/rank-*.out")]
        assert [text.count("leaving with 0") for text in said] == [1, 1, 1]
        assert not [text for text in said if "asked to stop" in text]
    for run in runs:
        assert unlike(lab3, run) == []
        assert processes_of_runs(lab3, run) == []


def test_all_readers_of_a_run_see_all_output(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with Launch(lab3, "--launcher", "direct", script) as running:
        running.wait_for_lines(3, "│ line 1")
        run = latest(lab3)
        with (
            Attach(lab3, run, "--tail", "100000") as first,
            Attach(lab3, run, "--tail", "100000") as second,
        ):
            first.wait_for_lines(3, "│ line 1")
            second.wait_for_lines(3, "│ line 1")
            order_to_leave(lab3, run, 0)
            assert (first.end(), second.end(), running.end()) == (0, 0, 0)
    assert unlike(lab3, run) == []
    for rank in range(3):
        out = (copies(lab3, run) / f"node{rank}/attempt-0/rank-{rank}.out").read_text()
        for looking in (running, first, second):
            shown = [line.split("│ ", 1)[1] for line in looking.out if line.startswith(f"r{rank} ")]
            assert "".join(shown) == out


def test_run_can_be_stopped_and_read_by_several_commands_at_once(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab3, "--launcher", "direct", script)
    with Attach(lab3, run) as first, Attach(lab3, run) as second:
        first.wait_for_lines(1, "│ line")
        second.wait_for_lines(1, "│ line")
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda _: orch(lab3, "stop", run), range(2)))
        assert [one.returncode for one in done] == [0, 0], done
        assert (first.end(), second.end()) == (130, 130)
        assert "stopped by orch stop" in first.err
    assert processes_of_runs(lab3, run) == []
    wait_for_end(lab3, run)
    assert unlike(lab3, run) == []
    again = orch(lab3, "stop", run)
    assert again.returncode == 0
    assert "Traceback" not in again.stderr
    assert "ended" in again.stderr + again.stdout
    assert "stopped by orch stop" in again.stderr + again.stdout


def test_stop_of_an_ended_run_does_not_change_its_end(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "quick.py", "print('done')\n")
    run = detached(lab3, "--launcher", "direct", script)
    wait_until(lambda: processes_of_runs(lab3, run) == [])
    done = orch(lab3, "stop", run)
    assert done.returncode == 0, done.stderr
    ended = wait_for_end(lab3, run)
    assert (ended["exit_code"], ended["summary"]) == (0, "all 3 ranks succeeded")
    assert "Traceback" not in done.stderr
    assert unlike(lab3, run) == []


def test_attach_that_is_interrupted_stops_the_run(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab3, "--launcher", "direct", script)
    with Attach(lab3, run) as looking:
        looking.wait_for_lines(3, "│ line")
        assert looking.interrupt() == 130
    assert processes_of_runs(lab3, run) == []
    assert wait_for_end(lab3, run)["exit_code"] == 130


def test_attach_with_ctrl_backslash_leaves_the_run_alone(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab3, "--launcher", "direct", script)
    with Attach(lab3, run) as looking:
        looking.wait_for_lines(3, "│ line")
        assert looking.interrupt(signal.SIGQUIT) == 0
    assert record(lab3, run)["state"] == "running"
    assert orch(lab3, "stop", run).returncode == 0


def test_damaged_records_are_skipped(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    torn = detached(lab3, "--launcher", "direct", script)
    empty = detached(lab3, "--launcher", "direct", script)
    for run in (torn, empty):
        wait_for_copies(lab3, run, 3, "line 20\n")
        (controller,) = controllers(lab3, run)
        os.kill(controller, signal.SIGKILL)
        wait_until(lambda: controllers(lab3, run) == [])  # noqa: B023
    log = folder(lab3, torn) / "events.jsonl"
    os.truncate(log, log.stat().st_size - 7)
    for index in (folder(lab3, torn) / "logs").glob("*/index"):
        os.truncate(index, index.stat().st_size - 11)
    (folder(lab3, torn) / "run.json.1.tmp").write_text('{"orch"')
    os.truncate(folder(lab3, empty) / "run.json", 0)
    order_to_leave(lab3, torn, 0)
    with Attach(lab3, torn, "--tail", "100000") as looking:
        assert looking.end() == 0, looking.err
    assert "Traceback" not in looking.err
    wait_for_end(lab3, torn)
    assert unlike(lab3, torn) == []
    for rank in range(3):
        out = (copies(lab3, torn) / f"node{rank}/attempt-0/rank-{rank}.out").read_text()
        shown = [line.split("│ ", 1)[1] for line in looking.out if line.startswith(f"r{rank} ")]
        assert "".join(shown) == out
    for command in ("attach", "stop", "logs", "status"):
        done = orch(lab3, command, empty)
        assert done.returncode != 0
        assert f"{empty} has no record of a run that can be read" in done.stderr
    listed = lab3.run([*ORCH, "runs"])
    assert listed.returncode == 0, listed.stderr
    assert torn in listed.stdout
    order_to_leave(lab3, empty, 0)
    wait_until(lambda: processes_of_runs(lab3, empty) == [])
