"""`orch launch --slurm --slurm-login`: Slurm and its nodes are reached through a login host only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from labkit import slurm
from labkit.lab import Child, Lab

from ..orch import ORCH, latest, orch, processes_of_runs, read_until, record, wait_until, write
from .conftest import LOGIN

pytestmark = [pytest.mark.lab, pytest.mark.slurm]

HELLO = """
import os
open("result.txt", "w").write("from " + os.environ["RANK"])
print("hello", os.environ["RANK"], os.uname().nodename, os.environ["SLURM_JOB_NAME"], flush=True)
assert not [name for name in os.environ if name.startswith(("SSH_", "SLURM_PROCID"))], os.environ
"""
WAITS = """
import os, time
print("up", flush=True)
while not os.path.exists("/tmp/enough"):
    time.sleep(0.1)
print("done", flush=True)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "exp"


def words(*options: str) -> list[str]:
    slurm_options = ["--slurm", "-N2 -t10", "--slurm-login", f"root@{LOGIN}"]
    return ["launch", *slurm_options, "--launcher", "direct", *options, "train.py"]


def popen(lab: Lab, project: Path, *options: str) -> Child:
    write(project, "train.py", WAITS)
    pipe = subprocess.PIPE
    return lab.popen([*ORCH, *words(*options)], cwd=project, stdout=pipe, stderr=pipe, bufsize=0)


def jobs(lab: Lab) -> list[str]:
    return slurm.jobs(lab, LOGIN)


def wait_for_ranks(process: Child) -> None:
    assert process.stdout is not None
    assert b"up" in process.stdout.readline()
    assert b"up" in process.stdout.readline()


def enough(lab: Lab) -> None:
    """Let the ranks end."""
    for node in ("node1", "node2"):
        (lab.files(node) / "tmp/enough").touch()


@pytest.fixture(autouse=True)
def fresh(remote: Lab) -> None:
    for node in ("node1", "node2"):
        (remote.files(node) / "tmp/enough").unlink(missing_ok=True)


def test_launch_through_a_login_host_runs_fetches_and_gives_the_nodes_back(
    remote: Lab, project: Path
) -> None:
    ping = ["exec", "-i", str(remote.inventory), "--nodes", "node1", "--connect-timeout", "1"]
    assert orch(remote, *ping, "--", "id").returncode == 125
    write(project, "train.py", HELLO)
    done = orch(remote, *words("--fetch", "*.txt"), cwd=project)
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"hello .*", done.stdout)) == [
        "hello 0 node1 orch",
        "hello 1 node2 orch",
    ]
    assert re.search(r"orch: Slurm job \d+ has started: 2 nodes", done.stderr)
    assert (project / latest(remote) / "result.txt").read_text() == "from 0"
    settings = record(remote, latest(remote))["settings"]
    assert settings["transport"]["options"]["login"] == f"root@{LOGIN}"


def test_interrupt_in_the_queue_takes_the_job_back(remote: Lab, project: Path) -> None:
    options = ["--parsable", "--exclusive", "-N2", "-t10", "-o/dev/null", "--wrap", "sleep 600"]
    other = slurm.run(remote, ["sbatch", *options], cwd="/", node=LOGIN).stdout.strip()
    wait_until(lambda: f"{other} RUNNING" in jobs(remote))
    with popen(remote, project) as process:
        assert b"place 1 of 1 in main" in read_until(process, b" is queued")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert jobs(remote) == [f"{other} RUNNING"]
    slurm.run(remote, ["scancel", other], node=LOGIN)


def test_run_in_the_background_is_seen_fetched_from_and_stopped(remote: Lab, project: Path) -> None:
    write(project, "train.py", HELLO + WAITS)
    done = orch(remote, *words("--detach"), cwd=project)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(re.findall("up", orch(remote, "logs").stdout)) == 2)
    assert len(re.findall(r"r\d +running", orch(remote, "status").stdout)) == 2
    fetched = orch(remote, "fetch", "--to", project / "results", "*.txt", cwd=project)
    assert fetched.returncode == 0, fetched.stderr
    assert next((project / "results").rglob("result.txt")).read_text() == "from 0"
    stopped = orch(remote, "stop")
    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: jobs(remote) == [])
    assert record(remote, latest(remote))["summary"] == "stopped by orch stop"
    assert processes_of_runs(remote) == []


def test_run_without_its_controller_is_taken_over_and_followed_to_its_end(
    remote: Lab, project: Path
) -> None:
    with popen(remote, project) as process:
        wait_for_ranks(process)
        process.kill()
    pipe = subprocess.PIPE
    following = remote.popen([*ORCH, "logs", "--follow"], stdout=pipe, stderr=pipe, bufsize=0)
    with following:
        wait_for_ranks(following)
        enough(remote)
        out, err = following.communicate(timeout=60)
    assert (following.returncode, len(re.findall(b"done", out))) == (0, 2), err
    wait_until(lambda: jobs(remote) == [])


def test_connection_to_the_login_host_that_breaks_is_made_again(remote: Lab, project: Path) -> None:
    with popen(remote, project) as process:
        wait_for_ranks(process)
        logins = [each for each in remote.processes(LOGIN) if each.argv[0].startswith("sshd: root")]
        assert len(logins) == 2  # one for commands, and one for the steps of both nodes
        for each in logins:
            os.kill(each.pid, signal.SIGKILL)
        enough(remote)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, len(re.findall(b"done", out))) == (0, 2), err


def test_cancelled_job_is_the_verdict(remote: Lab, project: Path) -> None:
    with popen(remote, project) as process:
        wait_for_ranks(process)
        (job,) = (line.split()[0] for line in jobs(remote))
        slurm.run(remote, ["scancel", job], node=LOGIN)
        assert f"Slurm job {job} was cancelled".encode() in process.communicate(timeout=60)[1]
        assert process.returncode == 143


def test_unknown_host_key_of_the_login_host_is_refused(remote: Lab, project: Path) -> None:
    write(project, "train.py", HELLO)
    known = remote.home / ".ssh/known_hosts"
    text = known.read_text()
    known.write_text("")
    try:
        done = orch(remote, *words(), cwd=project)
        assert done.returncode == 125
        assert f"{LOGIN}: the host key of {LOGIN} is not known" in done.stderr
        accepted = orch(remote, *words("--accept-new"), cwd=project)
        assert accepted.returncode == 0, accepted.stderr
    finally:
        known.write_text(text)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("sbatch", "\x1b[2J4711; id"),
        ("sbatch", "\x1b]0;title\x07" * 1000),
        ("scontrol", "JobId=1 \x1b[31m\n   JobState=RUNNING Reason=None\n   NodeList=\x1b[2J\n"),
    ],
)
def test_hostile_output_of_the_login_host_is_one_error_without_control_characters(
    remote: Lab, project: Path, program: str, said: str
) -> None:
    write(project, "train.py", HELLO)
    home = remote.files(LOGIN) / "home"
    (home / "evil").mkdir()
    (home / "evil/said").write_text(said)
    (home / "evil" / program).write_text('#!/bin/sh\ncat "$HOME/evil/said"\n')
    (home / "evil" / program).chmod(0o755)
    start_up = home / ".bashrc"
    text = start_up.read_text()
    start_up.write_text(f"{text}PATH=$HOME/evil:$PATH\n")
    try:
        done = orch(remote, *words(), cwd=project)
    finally:
        start_up.write_text(text)
        for file in (home / "evil").iterdir():
            file.unlink()
        (home / "evil").rmdir()
    assert done.returncode == 125, done.stderr
    assert all(line.isprintable() for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr
    for line in jobs(remote):
        slurm.run(remote, ["scancel", line.split()[0]], node=LOGIN)
    wait_until(lambda: jobs(remote) == [])


def test_host_without_slurm_is_no_login_host(remote: Lab, project: Path) -> None:
    """The start-up files of the login shell are asked for its programs, too."""
    write(project, "train.py", HELLO)
    start_up = remote.files(LOGIN) / "home/.bashrc"
    text = start_up.read_text()
    start_up.write_text("PATH=/nowhere\n")
    try:
        done = orch(remote, *words(), cwd=project)
    finally:
        start_up.write_text(text)
    assert done.returncode == 125
    assert f"there is no sbatch on {LOGIN}" in done.stderr
