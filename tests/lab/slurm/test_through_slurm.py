"""`orch launch --slurm` asks Slurm for nodes, and gives them back however it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from labkit import slurm
from labkit.lab import Child, Lab

from ..orch import ORCH, latest, processes_of_runs, read_until, record, wait_until, write

pytestmark = [pytest.mark.lab, pytest.mark.slurm]

HELLO = "import os\nprint('hello', os.environ['RANK'], os.uname().nodename, flush=True)\n"
FAILS = """
import os, sys, time
print("up", flush=True)
if os.environ["RANK"] == "1":
    sys.exit(3)
time.sleep(600)
"""
WAITS = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
# orch, whose job gives up its nodes after 2 s without a step.
_SHORT = """
from orchestrator.cli import main
from orchestrator.slurm import allocation
allocation.IDLE_TIMEOUT = 2
main()
"""
SHORT = [sys.executable, "-c", _SHORT]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "exp"


def run(lab: Lab, project: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    write(project, "train.py", script)
    argv = [*ORCH, "launch", "--slurm", "--nodes=3 --time=10", *options, "train.py"]
    return slurm.run(lab, argv, cwd=project)


def popen(lab: Lab, project: Path, orch: Sequence[str] = ORCH, options: str = "-N2 -t10") -> Child:
    write(project, "train.py", WAITS)
    argv = [*orch, "launch", "--slurm", options, "--launcher", "direct", "train.py"]
    pipe = subprocess.PIPE
    return lab.popen(argv, env=slurm.ENVIRONMENT, cwd=project, stdout=pipe, stderr=pipe, bufsize=0)


def occupy(lab: Lab) -> str:
    """Submit a job that takes all nodes, and wait until it runs."""
    options = ["--parsable", "--exclusive", "-N4", "-t10", "-o/dev/null"]
    done = slurm.run(lab, ["sbatch", *options, "--wrap", "sleep 600"], cwd="/")
    job = done.stdout.strip()
    wait_until(lambda: f"{job} RUNNING" in slurm.jobs(lab))
    return job


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_launch_runs_on_nodes_of_slurm_and_gives_them_back(
    cluster: Lab, project: Path, launcher: str
) -> None:
    done = run(cluster, project, HELLO, "--launcher", launcher)
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"hello (\d node\d)", done.stdout)) == [
        "0 node0",
        "1 node1",
        "2 node2",
    ]
    assert re.search(r"orch: Slurm job \d+ has started: 3 nodes", done.stderr)


def test_failing_rank_gives_the_nodes_back(cluster: Lab, project: Path) -> None:
    done = run(cluster, project, FAILS, "--launcher", "direct", "--preflight", "off")
    assert (done.returncode, "rank 1 on node1 exited with 3" in done.stderr) == (3, True)


def test_launch_that_cannot_start_gives_the_nodes_back(cluster: Lab, project: Path) -> None:
    done = run(cluster, project, HELLO, "--main-address", "192.0.2.1")
    assert (done.returncode, "no route to the main address" in done.stderr) == (125, True)


def test_refused_job_has_the_words_of_slurm(cluster: Lab, project: Path) -> None:
    write(project, "train.py", HELLO)
    argv = [*ORCH, "launch", "--slurm", "--partition=missing", "train.py"]
    done = slurm.run(cluster, argv, cwd=project)
    assert (done.returncode, "invalid partition specified: missing" in done.stderr) == (125, True)


def test_interrupt_in_the_queue_takes_the_job_back(cluster: Lab, project: Path) -> None:
    other = occupy(cluster)
    with popen(cluster, project) as process:
        said = read_until(process, b" is queued")
        assert b"place 1 of 1 in main" in said
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert slurm.jobs(cluster) == [f"{other} RUNNING"]
    slurm.run(cluster, ["scancel", other])


def test_controller_killed_in_the_queue_leaves_a_job_that_ends_by_itself(
    cluster: Lab, project: Path
) -> None:
    other = occupy(cluster)
    with popen(cluster, project, SHORT) as process:
        read_until(process, b" is queued")
        process.kill()
    slurm.run(cluster, ["scancel", other])
    wait_until(lambda: slurm.jobs(cluster) == [], 60)


def test_controller_killed_in_the_run_is_replaced_and_the_nodes_go_back(
    cluster: Lab, project: Path
) -> None:
    with popen(cluster, project, SHORT) as process:
        assert process.stdout is not None
        assert b"up" in process.stdout.readline()
        process.kill()
    wait_until(lambda: len(processes_of_runs(cluster)) == 2)  # both ranks live
    stopped = slurm.run(cluster, [*ORCH, "stop"])
    assert stopped.returncode == 0, stopped.stderr
    assert record(cluster, latest(cluster))["summary"] == "stopped by orch stop"
    wait_until(lambda: slurm.jobs(cluster) == [])


def test_run_in_the_background_gives_the_nodes_back_at_its_end(cluster: Lab, project: Path) -> None:
    done = run(cluster, project, HELLO, "--launcher", "direct", "--detach")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: slurm.jobs(cluster) == [], 60)
    assert record(cluster, latest(cluster))["exit_code"] == 0
    logs = slurm.run(cluster, [*ORCH, "logs"])
    assert len(re.findall("hello", logs.stdout)) == 3
    fetched = slurm.run(cluster, [*ORCH, "fetch"], cwd=project)
    assert fetched.returncode != 0
    assert "files that must last belong on a shared file system" in fetched.stderr


def test_job_cancelled_by_hand_is_the_verdict(cluster: Lab, project: Path) -> None:
    with popen(cluster, project) as process:
        assert process.stdout is not None
        assert b"up" in process.stdout.readline()
        (job,) = (line.split()[0] for line in slurm.jobs(cluster))
        slurm.run(cluster, ["scancel", job])
        assert f"Slurm job {job} was cancelled".encode() in process.communicate(timeout=60)[1]
        assert process.returncode == 143


@pytest.mark.parametrize("partition", ["low", "again"])
def test_preempted_job_is_the_verdict(cluster: Lab, project: Path, partition: str) -> None:
    """Also where the site requeues preempted jobs: one of --slurm is not requeued."""
    with popen(cluster, project, options=f"-N2 -t10 -p {partition}") as process:
        assert process.stdout is not None
        assert b"up" in process.stdout.readline()
        (job,) = (line.split()[0] for line in slurm.jobs(cluster))
        other = occupy(cluster)
        err = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, f"Slurm job {job} was preempted" in err) == (143, True), err
    assert slurm.jobs(cluster) == [f"{other} RUNNING"]
    slurm.run(cluster, ["scancel", other])


@pytest.mark.parametrize(
    ("options", "said", "remedy"),
    [
        ("-N1 -p short -t10", "PartitionTimeLimit", "scontrol show partition short"),
        ("-N1 --dependency=afterok:{failed}", "DependencyNeverSatisfied", "scontrol show job"),
    ],
)
def test_job_that_can_never_start_is_given_up_with_the_reason(
    cluster: Lab, project: Path, options: str, said: str, remedy: str
) -> None:
    submit = ["sbatch", "--parsable", "-o/dev/null", "--wait", "--wrap", "exit 1"]
    failed = slurm.run(cluster, submit, cwd="/").stdout.strip()
    write(project, "train.py", HELLO)
    argv = [*ORCH, "launch", "--slurm", options.format(failed=failed), "train.py"]
    done = slurm.run(cluster, argv, cwd=project)
    assert done.returncode == 125
    assert re.search(rf"job \d+ would never start, and was cancelled: {said} \(", done.stderr)
    assert remedy in done.stderr
    assert slurm.jobs(cluster) == []


def test_partition_that_does_not_allow_the_account_ends_the_launch(
    cluster: Lab, project: Path
) -> None:
    update = ["scontrol", "update", "PartitionName=short"]
    assert slurm.run(cluster, [*update, "AllowAccounts=foo"]).returncode == 0
    write(project, "train.py", HELLO)
    argv = [*ORCH, "launch", "--slurm", "-N1 -p short -t1", "train.py"]
    try:
        done = slurm.run(cluster, argv, cwd=project)
    finally:
        slurm.run(cluster, [*update, "AllowAccounts=ALL"])
    assert (done.returncode, "it may not use the partition" in done.stderr) == (125, True)


def test_held_job_and_drained_node_are_waited_for(cluster: Lab, project: Path) -> None:
    drain = ["scontrol", "update", "NodeName=node3"]
    slurm.run(cluster, [*drain, "State=DRAIN", "Reason=test"])
    with popen(cluster, project, options="-N4 -t10 --hold") as process:
        said = read_until(process, b"JobHeldUser (held: scontrol release ")
        job = re.findall(rb"scontrol release (\d+)", said)[0].decode()
        slurm.run(cluster, ["scontrol", "release", job])
        read_until(process, b"are DOWN, DRAINED or reserved")
        slurm.run(cluster, [*drain, "State=RESUME"])
        read_until(process, b"has started: 4 nodes")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130


FABRIC = """
from lightning.fabric import Fabric
fabric = Fabric(accelerator="cpu", strategy="ddp", devices=2, num_nodes=2)
fabric.launch()
print(f"rank {fabric.global_rank} of {fabric.world_size}\\n", end="", flush=True)
fabric.barrier()
"""


@pytest.mark.torch
@pytest.mark.parametrize("launcher", ["fabric", "python"])
def test_lightning_in_a_job_of_its_own_counts_the_ranks_of_orch(
    cluster: Lab, project: Path, launcher: str
) -> None:
    pytest.importorskip("lightning")
    write(
        project,
        "train.py",
        FABRIC.replace("fabric.launch()\n", "") if launcher == "fabric" else FABRIC,
    )
    options = ["--slurm", "-N2 --ntasks-per-node=1 -t10", "--launcher", launcher, "--nproc", "2"]
    done = slurm.run(cluster, [*ORCH, "launch", *options, "train.py"], cwd=project)
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"rank \d of \d", done.stdout)) == [f"rank {n} of 4" for n in range(4)]


_CANCELLED = """
import asyncio, orchestrator
async def main():
    up = asyncio.Event()
    launching = asyncio.create_task(orchestrator.alaunch(
        "train.py", slurm="-N2 -t10", launcher="direct", on_line=lambda line: up.set()))
    await asyncio.wait({launching, asyncio.create_task(up.wait())}, return_when="FIRST_COMPLETED")
    launching.cancel()
    try:
        await launching
    except asyncio.CancelledError:
        print("cancelled")
asyncio.run(main())
"""


def test_alaunch_cancelled_in_the_run_leaves_it_on_its_nodes(cluster: Lab, project: Path) -> None:
    write(project, "train.py", WAITS)
    done = slurm.run(cluster, [sys.executable, "-c", _CANCELLED], cwd=project)
    assert (done.returncode, done.stdout) == (0, "cancelled\n"), done.stderr
    wait_until(lambda: len(processes_of_runs(cluster)) == 2)
    stopped = slurm.run(cluster, [*ORCH, "stop"])
    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: slurm.jobs(cluster) == [])
