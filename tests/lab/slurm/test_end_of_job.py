"""A job of Slurm that ends takes the run along, and the verdict says why."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labkit import slurm
from labkit.lab import Lab

from ..orch import ORCH, latest, record, wait_until, write

pytestmark = [pytest.mark.lab, pytest.mark.slurm]

WAITS = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
Finish = Callable[[], tuple[int, str]]
Start = Callable[..., tuple[str, Finish]]


@pytest.fixture
def start(cluster: Lab, tmp_path: Path) -> Iterator[Start]:
    """Start a run on two nodes of a job (default: a new one); returns it, and what waits for the end."""
    write(tmp_path / "exp", "train.py", WAITS)
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str, job: str = "") -> tuple[str, Finish]:
        if not job:
            said = slurm.run(cluster, ["salloc", "--no-shell", "-N2", *options]).stderr
            job = re.findall(r"Granted job allocation (\d+)", said)[0]
        process = cluster.popen(
            [*ORCH, "launch", "-i", f"slurm:{job}", "--launcher", "direct", "train.py"],
            env=slurm.ENVIRONMENT,
            cwd=tmp_path / "exp",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        assert b"up" in process.stdout.readline()

        def finish() -> tuple[int, str]:
            _, err = process.communicate(timeout=120)
            return process.returncode, err.decode()

        return job, finish

    yield start
    for process in started:
        process.kill()
        process.communicate()


def scontrol(lab: Lab, *words: str) -> None:
    done = slurm.run(lab, ["scontrol", *words])
    assert done.returncode == 0, done.stderr


def test_cancelled_job_is_the_verdict(cluster: Lab, start: Start) -> None:
    job, finish = start()
    slurm.run(cluster, ["scancel", job])
    code, err = finish()
    assert (code, f"Slurm job {job} was cancelled" in err) == (
        143,
        True,
    ), err
    assert record(cluster, latest(cluster))["outcome"] == "stopped"


def test_job_that_is_killed_without_a_grace_is_the_verdict(cluster: Lab, start: Start) -> None:
    """No process on a node can report anything; the nodes do not come back."""
    job, finish = start()
    slurm.run(cluster, ["scancel", "--signal=KILL", job])
    slurm.run(cluster, ["scancel", job])
    code, err = finish()
    assert (code, f"Slurm job {job} was cancelled" in err) == (143, True), err


def test_job_that_ends_without_a_controller_is_the_verdict_of_the_next(
    cluster: Lab, start: Start
) -> None:
    job, finish = start()
    for process in cluster.processes("ctl"):
        if "launch" in process.argv and "orchestrator" in process.argv:
            os.kill(process.pid, signal.SIGKILL)
    assert finish()[0] == -signal.SIGKILL
    slurm.run(cluster, ["scancel", job])
    wait_until(lambda: slurm.jobs(cluster) == [])
    attached = slurm.run(cluster, [*ORCH, "attach"])
    assert attached.returncode == 143, attached.stderr
    assert f"Slurm job {job} was cancelled" in attached.stderr


def test_time_limit_of_the_job_is_the_verdict(cluster: Lab, start: Start) -> None:
    job, finish = start("--time=10")
    scontrol(cluster, "update", f"JobId={job}", "EndTime=now")
    code, err = finish()
    assert (code, f"Slurm job {job} reached its time limit" in err) == (124, True), err


def test_job_that_is_requeued_is_the_verdict(cluster: Lab, start: Start) -> None:
    options = ["--parsable", "--requeue", "-N2", "-o/dev/null"]
    done = slurm.run(cluster, ["sbatch", *options, "--wrap", "sleep 600"], cwd="/")
    job = done.stdout.strip()
    wait_until(lambda: f"{job} RUNNING" in slurm.jobs(cluster))
    _, finish = start(job=job)
    scontrol(cluster, "requeue", job)
    code, err = finish()
    assert (code, f"Slurm job {job} was put back into the queue" in err) == (143, True), err
    slurm.run(cluster, ["scancel", job])


def test_failed_node_of_the_job_is_the_verdict(cluster: Lab, start: Start) -> None:
    job, finish = start()
    scontrol(cluster, "update", "NodeName=node1", "State=DOWN", "Reason=test")
    code, err = finish()
    # It is idle again as soon as its slurmd registers (ReturnToService=2), perhaps already.
    slurm.run(cluster, ["scontrol", "update", "NodeName=node1", "State=RESUME"])
    assert (code, f"Slurm job {job} ended because one of its nodes failed" in err) == (1, True), err
    wait_until(lambda: set(slurm.states(cluster).values()) == {"idle"}, 60)
