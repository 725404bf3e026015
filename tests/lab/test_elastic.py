"""torchrun continues without lost nodes as long as enough nodes are left."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
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
    launch,
    orch,
    processes_of_runs,
    record,
    run_name,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = [pytest.mark.lab, pytest.mark.torch]

# Ranks that all-reduce until the test ends them or makes one fail. Their time-out for each other is longer
# than any test.
JOB = """
import os, time
import torch, torch.distributed as dist
from datetime import timedelta

dist.init_process_group("gloo", timeout=timedelta(hours=1))
count, step = dist.get_world_size(), 0
fail = f"/tmp/fail-{os.environ['LOCAL_RANK']}"
while True:
    if os.path.exists(fail):
        os.remove(fail)
        raise ValueError("this batch is not like the others")
    is_enough = torch.tensor([float(os.path.exists("/tmp/enough"))])
    dist.all_reduce(is_enough)
    if is_enough.item():
        break
    step += 1
    if step == 5:
        print(f"round of {count} goes", flush=True)
    time.sleep(0.02)
dist.destroy_process_group()
"""

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ("--node-timeout", "3", "--connect-timeout", "2", "--preflight", "off")

thorough = pytest.mark.skipif(
    os.environ.get("ORCH_ELASTIC") != "all", reason="takes a while: ORCH_ELASTIC=all"
)


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Three hosts whose own names resolve to loopback, as is common in /etc/hosts."""
    return make_lab(3, own_name_loopback=True)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write(tmp_path / "job", "job.py", JOB)


def let_end(lab: Lab) -> None:
    for node in lab.nodes:
        (lab.files(node) / "tmp" / "enough").touch()


def ended(running: Launch) -> dict[str, Any]:
    return record(running.lab, run_name(running.err))


def launchers(lab: Lab, node: str) -> list[int]:
    return [p.pid for p in lab.processes(node) if "torch.distributed.run" in p.argv]


def kill_launcher(lab: Lab, node: str, number: int = signal.SIGKILL) -> None:
    (pid,) = launchers(lab, node)
    os.kill(pid, number)


def test_elastic_training_continues_when_a_host_vanishes(lab: Lab) -> None:
    """It resumes from rank 0's checkpoint on node0; the other ranks wait in a collective until then."""
    script = (
        "--sync",
        EXAMPLES,
        EXAMPLES / "digits_ddp.py",
        "--epochs",
        "4",
        "--checkpoint",
        "/tmp/digits.pt",
    )
    with Launch(lab, "--elastic", "2:3", *QUICK, *script) as running:
        running.wait_for_lines(1, "epoch 2/4")
        lab.vanish("node2")
        assert running.end(120) == 0, running.err
    assert "node2 could not be reached for 3 s" in running.err
    assert "the run continues with 2 of 3 nodes, all ranks restart" in running.err
    assert [line for line in running.out if "resuming after epoch" in line]
    assert [line for line in running.out if re.search(r"accuracy .* on 360", line)]
    assert ended(running)["summary"] == "all 2 ranks succeeded, without node2"
    assert ended(running)["missing"] == ["node2"]
    assert processes_of_runs(lab) == []


def test_failed_rank_is_restarted_and_killed_launcher_leaves(lab: Lab, job: Path) -> None:
    with Launch(lab, "--elastic", "1:3", *QUICK, job) as running:
        running.wait_for_lines(3, "round of 3 goes")
        (lab.files("node1") / "tmp" / "fail-0").touch()
        running.wait_for_lines(6, "round of 3 goes")
        kill_launcher(lab, "node1")
        running.wait_for_lines(2, "round of 2 goes")
        let_end(lab)
        assert running.end(60) == 0, running.err
    assert "node1 lost its launcher to SIGKILL; the run continues with 2 of 3 nodes" in running.err
    assert "stopping all ranks" not in running.err
    assert ended(running)["summary"] == "all 2 ranks succeeded, without node1"
    shown = orch(lab, "status", run_name(running.err)).stdout.splitlines()
    assert [row.split()[:3] for row in shown[-4:-1]] == [
        ["node0", "r0", "ended"], ["node1", "r1", "left"], ["node2", "r1", "ended"],
    ]  # fmt: skip
    assert shown[-1] == "node1 left the run: lost its launcher to SIGKILL"
    assert processes_of_runs(lab) == []


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("node1", "1 node is left, and the job needs 2"),
        pytest.param("node0", "it was the main node, which the rendezvous needs", marks=thorough),
    ],
)
def test_too_few_nodes_end_the_run(lab: Lab, job: Path, lost: str, why: str) -> None:
    with Launch(
        lab, "--nodes", "node[0-1]", "--elastic", f"{2 if lost == 'node1' else 1}:3", *QUICK, job
    ) as running:
        running.wait_for_lines(2, "round of 2 goes")
        lab.vanish(lost)
        assert running.end(60) == 1
    verdict = ended(running)["verdict"]
    assert (verdict["node"], verdict["rank"]) == (lost, None)
    assert verdict["how"].startswith(f"{lost} could not be reached for 3 s")
    assert verdict["how"].endswith(why)
    assert processes_of_runs(lab) == []


@thorough
def test_host_that_vanishes_during_the_rendezvous_is_left_out(
    make_lab: Callable[..., Lab], job: Path
) -> None:
    lab = make_lab(4, own_name_loopback=True)
    with Launch(lab, "--elastic", "1:4", *QUICK, job) as running:
        running.wait_for_lines(4, "round of 4 goes")
        lab.vanish("node2")
        log = copies(lab, latest(lab)) / "node3/attempt-0/launcher.err"
        wait_until(lambda: "Sending process" in log.read_text())
        lab.vanish("node3")
        running.wait_for_lines(2, "round of 2 goes")
        let_end(lab)
        assert running.end(60) == 0, running.err
    assert ended(running)["summary"] == "all 2 ranks succeeded, without node2, node3"


@thorough
def test_host_that_vanishes_before_the_rendezvous_is_not_waited_for(lab: Lab, job: Path) -> None:
    with Launch(lab, "--elastic", "1:3", "--restarts", "0", *QUICK, job) as running:
        wait_until(lambda: launchers(lab, "node2") != [])
        lab.vanish("node2")
        running.wait_for_lines(2, "round of 2 goes")
        let_end(lab)
        assert running.end(60) == 0, running.err
    assert ended(running)["summary"] == "all 2 ranks succeeded, without node2"


@thorough
def test_rank_that_fails_in_every_round_is_the_verdict(lab: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job",
        "job.py",
        JOB.replace("os.remove(fail)", "print('again', flush=True)"),
    )
    (lab.files("node1") / "tmp" / "fail-0").touch()
    done = launch(lab, "--elastic", "1:3", "--restarts", "2", *QUICK, script)
    assert done.returncode == 1
    assert done.stdout.count("again") == 3
    ended = record(lab, run_name(done.stderr))
    assert ended["verdict"]["node"] == "node1"
    assert "ValueError: this batch is not like the others" in ended["verdict"]["error"]
    assert processes_of_runs(lab) == []


@thorough
def test_vanished_host_is_the_verdict_without_restarts_left(lab: Lab, job: Path) -> None:
    with Launch(lab, "--elastic", "1:3", "--restarts", "0", *QUICK, job) as running:
        running.wait_for_lines(3, "round of 3 goes")
        lab.vanish("node2")
        assert running.end(60) == 1
    assert ended(running)["verdict"]["how"].endswith("no restarts are left")
    assert ended(running)["verdict"]["node"] == "node2"
    assert processes_of_runs(lab) == []


@thorough
def test_host_that_is_shut_down_leaves_the_job(lab: Lab, job: Path) -> None:
    with Launch(lab, "--elastic", "1:3", *QUICK, job) as running:
        running.wait_for_lines(3, "round of 3 goes")
        for process in lab.processes("node2"):
            if any("/orch/node/node-" in word for word in process.argv) or (
                b"ORCH_RUN=" in process.environ
            ):
                os.kill(process.pid, signal.SIGTERM)
        running.wait_for_lines(2, "round of 2 goes")
        let_end(lab)
        assert running.end(60) == 0, running.err
    assert ended(running)["summary"] == "all 2 ranks succeeded, without node2"


@thorough
def test_background_controller_replaces_one_that_died(lab: Lab, job: Path) -> None:
    run = detached(lab, "--elastic", "1:3", *QUICK, job)
    wait_for_copies(lab, run, 3, "round of 3 goes")
    (controller,) = controllers(lab, run)
    os.kill(controller, signal.SIGKILL)
    wait_until(lambda: controllers(lab, run) == [])
    lab.vanish("node2")
    assert orch(lab, "status", run).returncode == 0  # this starts a new controller
    wait_for_copies(lab, run, 2, "round of 2 goes", 90)
    let_end(lab)
    assert wait_for_end(lab, run)["summary"] == "all 2 ranks succeeded, without node2"
    assert (copies(lab, run) / "node2").exists()


@thorough
def test_host_that_comes_back_too_late_is_stopped(lab: Lab, job: Path) -> None:
    with Launch(lab, "--elastic", "1:3", *QUICK, job) as running:
        running.wait_for_lines(3, "round of 3 goes")
        link = ["ip", "link", "set", "eth0"]
        assert lab.run([*link, "down"], node="node2").returncode == 0
        running.wait_for_lines(2, "round of 2 goes")
        assert lab.run([*link, "up"], node="node2").returncode == 0
        wait_until(lambda: [node for node, _ in processes_of_runs(lab) if node == "node2"] == [])
        let_end(lab)
        assert running.end(60) == 0, running.err
    assert ended(running)["summary"] == "all 2 ranks succeeded, without node2"
    assert ended(running)["missing"] == []
