"""Results are fetched over real SSH: during a run, after a failure, and after an interruption."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, detached, launch, orch, run_name, wait_until, write

pytestmark = pytest.mark.lab

DIRECT = ("--launcher", "direct", "--preflight", "off")

# Each rank writes a checkpoint, which only its own node has, and runs until the test ends it.
WRITING = """
import os, sys, time
rank = int(os.environ["RANK"])
os.makedirs("ckpt", exist_ok=True)
with open("ckpt/rank-%d.pt" % rank, "wb") as file:
    file.write(os.urandom(int(sys.argv[1])))
os.symlink("rank-%d.pt" % rank, "ckpt/last.pt")
print("written", flush=True)
while len(sys.argv) > 2 and not os.path.exists("/tmp/leave"):
    time.sleep(0.05)
sys.exit(3 if rank == 1 else 0)
"""


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def theirs(lab: Lab, node: str, path: str, folder: str) -> Path:
    """A file in the working folder of a node."""
    return lab.files(node) / "home/orch" / folder / path


def test_fetch_during_a_run_gets_the_files_of_each_node(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "fetch-live", "t.py", WRITING)
    run = detached(lab3, *DIRECT, script, "300000", "wait")
    try:
        there = [theirs(lab3, f"node{n}", f"ckpt/rank-{n}.pt", "fetch-live") for n in range(3)]
        wait_until(lambda: all(file.exists() and file.stat().st_size for file in there))
        wait_until(lambda: "written" in orch(lab3, "logs", run, "--rank", "2").stdout)
        done = orch(lab3, "fetch", run, "--nodes", "node[0-2]", "--to", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        for number, file in enumerate(there):
            here = tmp_path / f"out/node{number}/ckpt"
            assert digest(here / f"rank-{number}.pt") == digest(file)
            assert (here / "last.pt").readlink() == Path(f"rank-{number}.pt")
        assert not list((tmp_path / "out").rglob("t.py")), (
            "orch placed it, the run did not write it"
        )
        assert "running" in orch(lab3, "status", run).stdout
    finally:
        for node in lab3.nodes:
            (lab3.files(node) / "tmp/leave").touch()
    ended = orch(lab3, "attach", run)
    assert ended.returncode == 3
    assert "node0:~/orch/fetch-live (2 new, 300.0 kB)" in ended.stderr, ended.stderr
    for node in lab3.nodes:
        (lab3.files(node) / "tmp/leave").unlink()


def test_launch_in_the_background_fetches_after_a_failure(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "fetch-failing", "t.py", WRITING)
    words = ("--fetch", "ckpt/*.pt", "--detach", script, "5000")
    done = launch(lab3, *DIRECT, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = run_name(done.stderr)
    assert orch(lab3, "attach", run).returncode == 3
    there = theirs(lab3, "node0", "ckpt/rank-0.pt", tmp_path.name)  # the current folder is synced
    assert digest(tmp_path / run / "ckpt/rank-0.pt") == digest(there)


def test_killed_fetch_is_resumed_by_the_next(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "fetch-big", "t.py", WRITING)
    done = launch(lab3, *DIRECT, "--nodes", "node0", script, str(200 << 20))
    assert done.returncode == 0, done.stderr
    run, out = run_name(done.stderr), tmp_path / "out"
    fetching = lab3.popen(
        [*ORCH, "fetch", run, "--to", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: _come(out) > 20 << 20)
    fetching.send_signal(signal.SIGKILL)
    fetching.wait(timeout=30)
    assert not (out / "ckpt").exists(), "nothing has its name that is not whole"
    wait_until(lambda: ".orch-partial/files/ckpt/.orch-partial/rank-0.pt" in _names(out))
    done = orch(lab3, "fetch", run, "--to", out)
    assert done.returncode == 0, done.stderr
    there = theirs(lab3, "node0", "ckpt/rank-0.pt", "fetch-big")
    assert digest(out / "ckpt/rank-0.pt") == digest(there)
    assert not (out / ".orch-partial").exists()


def test_full_disk_during_a_fetch_is_reported_and_nothing_is_lost(
    lab3: Lab, tmp_path: Path
) -> None:
    script = write(tmp_path / "fetch-full", "t.py", WRITING)
    done = launch(lab3, *DIRECT, "--nodes", "node0", script, str(12 << 20))
    disk = tmp_path / "disk"
    disk.mkdir()
    fetch = " ".join([*ORCH, "fetch", run_name(done.stderr), "--to", f"{disk}/out"])
    steps = (
        f"mount -t tmpfs -o size=8m tmpfs {disk} && {fetch}; echo code $?; "
        f"mount -o remount,size=64m {disk} && {fetch}; echo code $?; "
        f"sha256sum {disk}/out/ckpt/rank-0.pt"
    )
    done = lab3.run(["unshare", "--mount", "sh", "-c", steps])
    assert f"the disk of this machine that holds {disk}" in done.stderr, done.stderr
    first, second, found = done.stdout.splitlines()
    assert (first, second) == ("code 125", "code 0"), done.stderr
    assert found.split()[0] == digest(theirs(lab3, "node0", "ckpt/rank-0.pt", "fetch-full"))


def test_unreachable_node_is_reported_and_the_others_are_fetched(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "fetch-away", "t.py", WRITING)
    done = launch(lab, *DIRECT, "--connect-timeout", "3", script, "1000")
    assert done.returncode == 3, done.stderr
    lab.vanish("node1")
    run, out = run_name(done.stderr), tmp_path / "out"
    done = orch(lab, "fetch", run, "--nodes", "node[0-1]", "--to", out)
    assert done.returncode == 125
    assert "node1: " in done.stderr and "node0: fetched" in done.stderr, done.stderr
    assert (out / "node0/ckpt/rank-0.pt").stat().st_size == 1000
    assert not (out / "node1").exists()


def _come(out: Path) -> int:
    """The number of bytes received of incomplete files."""
    found = 0
    for path in out.rglob(".orch-partial/files/**/*"):
        try:
            found += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # it was complete and has been moved
    return found


def _names(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*")}
