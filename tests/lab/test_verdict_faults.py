"""The verdict is also correct if launchers, shims, supervisors or controllers are killed or frozen."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import (
    Launch,
    controllers,
    copies,
    detached,
    latest,
    orch,
    processes_of_runs,
    record,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = [pytest.mark.lab]

# A rank that works until it is asked to stop, saves, and exits with 0.
SAVING = """
import os, signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("going", flush=True)
while True:
    time.sleep(0.05)
"""

# A rank that is slow to stop; the second one fails when a file requests it.
SLOW_TO_STOP = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: None)
print("going", flush=True)
while not (os.environ["RANK"] == "1" and os.path.exists("/tmp/fail")):
    time.sleep(0.05)
sys.exit(3)
"""

TWO_NODES = ("--nodes", "node0,node1", "--preflight", "off")


def status(lab: Lab, run: str, node: str) -> dict[str, Any]:
    """Return the state of a run from the supervisor on a node."""
    folder = lab.files(node) / "home/.local/state/orch/runs" / run / node
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


def kill(lab: Lab, node: str, pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, given by its id on the node."""
    done = lab.run(["kill", f"-{int(number)}", str(pid)], node=node)
    assert done.returncode == 0, done.stderr


def shim_of(lab: Lab, node: str, rank: int) -> int:
    """Return the id on this machine of the process between the launcher and a rank."""
    (pid,) = (
        process.pid
        for process in lab.processes(node)
        if "shim" in process.argv
        and f"RANK={rank}".encode() in process.environ.split(b"\0")
        and not Path(f"/proc/{process.pid}/comm").read_text().startswith("orch-")
    )
    return pid


def agent_of(lab: Lab, node: str) -> int:
    """Return the id on this machine of the agent that serves the only controller."""
    (pid,) = (
        process.pid
        for process in lab.processes(node)
        if "serve" in process.argv
        and not Path(f"/proc/{process.pid}/comm").read_text().startswith("orch-")
    )
    return pid


def slow_job(lab: Lab, folder: Path) -> Path:
    """Write the script SLOW_TO_STOP, and remove an old request to fail; return its path."""
    for node in lab.nodes:
        (lab.files(node) / "tmp/fail").unlink(missing_ok=True)
    return write(folder / "job", "slow.py", SLOW_TO_STOP)


@pytest.mark.torch
@pytest.mark.parametrize("is_watched", [True, False])
def test_killed_torchrun_is_the_cause_although_its_ranks_exit_0(
    lab3: Lab, tmp_path: Path, is_watched: bool
) -> None:
    script = write(tmp_path / "job", "saving.py", SAVING)
    with Launch(lab3, *TWO_NODES, "--launcher", "torchrun", "--nproc", "1", script) as running:
        running.wait_for_lines(2, "going")
        run = latest(lab3)
        if not is_watched:
            running.process.kill()
            running.process.wait(20)
        kill(lab3, "node1", status(lab3, run, "node1")["launcher"]["pid"])
        if is_watched:
            assert running.end() == 137
        else:
            wait_until(lambda: status(lab3, run, "node1")["state"] == "ended")
            assert orch(lab3, "status", run).returncode == 0
    ended = wait_for_end(lab3, run)
    summary = "the launcher on node1 was killed by SIGKILL"
    assert (ended["exit_code"], ended["summary"]) == (137, summary)
    assert "saved" in (copies(lab3, run) / "node1/attempt-0/rank-1.out").read_text()


@pytest.mark.torch
def test_rank_with_a_killed_shim_is_the_cause(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "saving.py", SAVING)
    with Launch(lab3, *TWO_NODES, "--launcher", "torchrun", "--nproc", "2", script) as running:
        running.wait_for_lines(4, "going")
        os.kill(shim_of(lab3, "node1", 3), signal.SIGKILL)
        assert running.end() == 137
    ended = record(lab3, latest(lab3))
    assert ended["summary"] == "rank 3 on node1 was killed by SIGKILL"


def test_supervisor_that_was_frozen_continues_its_run(lab3: Lab, tmp_path: Path) -> None:
    script = slow_job(lab3, tmp_path)
    with Launch(lab3, *TWO_NODES, "--launcher", "direct", "--nproc", "1", script) as running:
        running.wait_for_lines(2, "going")
        run = latest(lab3)
        supervisor = status(lab3, run, "node0")["pid"]
        kill(lab3, "node0", supervisor, signal.SIGSTOP)
        time.sleep(3.0)  # longer than a supervisor ever waits
        kill(lab3, "node0", supervisor, signal.SIGCONT)
        (lab3.files("node1") / "tmp/fail").touch()
        assert running.end() == 3
    assert record(lab3, run)["summary"] == "rank 1 on node1 exited with 3"


def test_controller_that_takes_over_during_the_stop_keeps_the_cause(
    lab3: Lab, tmp_path: Path
) -> None:
    script = slow_job(lab3, tmp_path)
    words = (*TWO_NODES, "--launcher", "direct", "--nproc", "1", "--grace", "4")
    with Launch(lab3, *words, script) as running:
        running.wait_for_lines(2, "going")
        run = latest(lab3)
        (lab3.files("node1") / "tmp/fail").touch()
        wait_until(lambda: status(lab3, run, "node0")["state"] == "stopping")
        running.process.kill()
        running.process.wait(20)
        assert orch(lab3, "status", run).returncode == 0
    ended = wait_for_end(lab3, run)
    assert (ended["exit_code"], ended["summary"]) == (3, "rank 1 on node1 exited with 3")


def test_agent_that_hangs_is_replaced_and_its_node_stops_too(lab3: Lab, tmp_path: Path) -> None:
    script = slow_job(lab3, tmp_path)
    words = (*TWO_NODES, "--launcher", "direct", "--nproc", "1", "--grace", "0.5")
    with Launch(lab3, *words, script) as running:
        running.wait_for_lines(2, "going")
        run = latest(lab3)
        agent = agent_of(lab3, "node0")
        os.kill(agent, signal.SIGSTOP)
        try:
            (lab3.files("node1") / "tmp/fail").touch()
            assert running.end(120) == 3
            assert processes_of_runs(lab3, run) == []
        finally:
            os.kill(agent, signal.SIGCONT)
    assert record(lab3, run)["summary"] == "rank 1 on node1 exited with 3"
    assert "node0: reconnected" in running.err


def test_background_controller_that_is_interrupted_stops_the_run(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "saving.py", SAVING)
    run = detached(lab3, *TWO_NODES, "--launcher", "direct", "--nproc", "1", script)
    wait_for_copies(lab3, run, 2, "going")
    (controller,) = controllers(lab3, run)
    os.kill(controller, signal.SIGINT)
    ended = wait_for_end(lab3, run)
    assert (ended["exit_code"], ended["summary"]) == (130, "stopped by an interrupt")
    log = lab3.home / ".local/state/orch/runs" / run / "controller.log"
    assert "Traceback" not in log.read_text()


def test_background_controller_that_is_terminated_is_replaced(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "saving.py", SAVING)
    run = detached(lab3, *TWO_NODES, "--launcher", "direct", "--nproc", "1", script)
    wait_for_copies(lab3, run, 2, "going")
    (controller,) = controllers(lab3, run)
    os.kill(controller, signal.SIGTERM)
    wait_until(lambda: controllers(lab3, run) == [])
    assert {node for node, _ in processes_of_runs(lab3, run)} == {"node0", "node1"}
    assert orch(lab3, "stop", run).returncode == 0
    ended = wait_for_end(lab3, run)
    assert (ended["exit_code"], ended["summary"]) == (130, "stopped by orch stop")
