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


def test_drained_node_ends_its_job_no_sooner(cluster: Lab, start: Start) -> None:
    job, finish = start()
    scontrol(cluster, "update", "NodeName=node1", "State=DRAIN", "Reason=test")
    try:
        wait_until(lambda: slurm.states(cluster)["node1"] == "drng")
        assert slurm.jobs(cluster) == [f"{job} RUNNING"]
        slurm.run(cluster, [*ORCH, "stop"])
        assert finish()[0] == 130
    finally:
        scontrol(cluster, "update", "NodeName=node1", "State=RESUME")
        slurm.run(cluster, ["scancel", job])


PREEMPTED = """
import os, time
print("up", os.environ.get("SLURM_RESTART_COUNT", "0"), flush=True)
if "SLURM_RESTART_COUNT" not in os.environ:
    time.sleep(600)
"""


def test_batch_script_that_is_preempted_and_requeued_launches_again(
    cluster: Lab, tmp_path: Path
) -> None:
    """`--restarts` does not start a run again whose nodes were taken away; the script's next run does."""
    body = f"""#!/bin/sh
    mkdir -p /tmp/exp && cd /tmp/exp && echo '{PREEMPTED}' > train.py
    {" ".join(ORCH)} launch --launcher direct --restarts 3 train.py
    """
    batch = write(tmp_path / "exp", "job.sh", body)
    options = [
        "--parsable",
        "--requeue",
        "-N2",
        "-p",
        "again",
        "-o",
        "/tmp/out",
        "--open-mode=append",
    ]
    job = slurm.run(cluster, ["sbatch", *options, batch], cwd="/").stdout.strip()
    out = cluster.files("node0") / "tmp/out"
    out.unlink(missing_ok=True)
    wait_until(lambda: out.exists() and out.read_text().count("up 0") == 2, 60)
    other = ["sbatch", "--parsable", "--exclusive", "-N4", "-o/dev/null", "--wrap", "sleep 1"]
    slurm.run(cluster, other, cwd="/")
    wait_until(lambda: f"{job} PENDING" in slurm.jobs(cluster), 60)
    wait_until(lambda: slurm.jobs(cluster) == [f"{job} PENDING"], 60)
    scontrol(cluster, "update", f"JobId={job}", "StartTime=now")
    wait_until(lambda: slurm.jobs(cluster) == [], 60)
    assert out.read_text().count("up 0") == 2
    assert out.read_text().count("up 1") == 2
    assert "all 2 ranks succeeded" in out.read_text()


def test_failed_node_of_the_job_is_the_verdict(cluster: Lab, start: Start) -> None:
    job, finish = start()
    scontrol(cluster, "update", "NodeName=node1", "State=DOWN", "Reason=test")
    code, err = finish()
    # It is idle again as soon as its slurmd registers (ReturnToService=2), perhaps already.
    slurm.run(cluster, ["scontrol", "update", "NodeName=node1", "State=RESUME"])
    assert (code, f"Slurm job {job} ended because one of its nodes failed" in err) == (1, True), err
    wait_until(lambda: set(slurm.states(cluster).values()) == {"idle"}, 60)
