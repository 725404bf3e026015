"""Nodes that send too much or invalid data over real SSH: reported, bounded, and harmless to the run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    ORCH,
    copies,
    latest,
    launch,
    orch,
    processes_of_runs,
    record,
    wait_for_end,
    write,
)

pytestmark = pytest.mark.lab

QUICK = ["--preflight", "off", "--launcher", "direct", "--output", "raw"]


def test_rank_that_leaves_odd_files_is_stopped_in_time(lab3: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job",
        "odd.py",
        """
import os, time
folder = os.environ["ORCH_DIR"] + "/attempt-0/"
if os.environ["RANK"] == "0":
    os.mkfifo(folder + "rank-5.out"); os.mkfifo(folder + "rank-5.json")
    os.mkdir(folder + "rank-7.out"); os.symlink("/dev/zero", folder + "rank-8.out")
    open(folder + "rank-01.out", "w").write("x"); os.mkdir(os.environ["ORCH_DIR"] + "/attempt-00")
    os.mkfifo(os.environ["ORCH_DIR"] + "/stop.json")
print("up", flush=True)
time.sleep(1000)
""",
    )
    done = launch(lab3, *QUICK, "--timeout", "8s", "--grace", "1s", script)
    assert done.returncode == 124, done.stderr
    assert done.stdout.count("up") == 3
    assert processes_of_runs(lab3, latest(lab3)) == []
    node = lab3.nodes[0]
    assert done.stderr.count(f"{node}: attempt-0/rank-5.out in the run's folder") == 1
    assert done.stderr.count(f"{node}: attempt-0/rank-01.out in the run's folder") == 1
    assert "unreachable" not in done.stderr
    assert "bug in orch" not in done.stderr


def test_hole_of_200_gb_is_copied_quickly_and_shown_as_a_line(lab3: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job",
        "hole.py",
        """
import os, time
print("before", flush=True)
if os.environ["RANK"] == "0":
    log = os.environ["ORCH_DIR"] + "/attempt-0/rank-0.out"
    while os.path.getsize(log) < 7:
        time.sleep(0.01)
    os.truncate(log, 200_000_000_000)
    print("after", flush=True)
""",
    )
    began = time.monotonic()
    done = launch(lab3, *QUICK, script)
    assert done.returncode == 0, done.stderr
    run, node = latest(lab3), lab3.nodes[0]
    copy = copies(lab3, run) / node / "attempt-0/rank-0.out"
    theirs = lab3.files(node) / "home/.local/state/orch/runs" / run / node / "attempt-0/rank-0.out"
    assert copy.stat().st_size == theirs.stat().st_size == 200_000_000_000 + len("after\n")
    assert copy.stat().st_blocks * 512 < 1_000_000
    for file in (copy, theirs):
        with file.open("rb") as data:
            assert data.read(9) == b"before\n\0\0"
            data.seek(-8, os.SEEK_END)
            assert data.read() == b"\0\0after\n"
    shown = orch(lab3, "logs", run, "--rank", "0")
    assert "200.0 GB of zeros left out" in shown.stdout
    assert "after" in shown.stdout
    assert len(shown.stdout) < 1_000
    diagnosed = orch(lab3, "diagnose", run)  # it must not read 200 GB
    assert (diagnosed.returncode, diagnosed.stderr) == (1, "")
    assert time.monotonic() - began < 60


def test_run_that_reaches_its_log_limit_continues(lab3: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job",
        "flood.py",
        """
import os, sys
for number in range(400_000): print("line", number, "of rank", os.environ["RANK"])
sys.exit(7 if os.environ["RANK"] == "2" else 0)
""",
    )
    done = launch(lab3, *QUICK, "--log-limit", "1M", "--on-failure", "continue", script)
    assert done.returncode == 7, done.stderr
    assert done.stderr.count("have reached their limit of 1.0 MB on this machine") == 1
    run = latest(lab3)
    found = record(lab3, run)
    assert found["missing"], found
    kept = sum(path.stat().st_size for path in copies(lab3, run).glob("*/*/*"))
    assert kept < 10_000_000
    shown = orch(lab3, "logs", run, "--tail", "1")
    assert shown.returncode == 0
    assert "is only there" in shown.stderr


def test_log_limit_applies_under_a_background_controller(lab3: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job", "flood.py", 'for number in range(300_000): print("line", number)\n'
    )
    options = ["--preflight", "off", "--launcher", "direct", "--log-limit", "500k"]
    done = launch(lab3, "--detach", *options, script)
    assert done.returncode == 0, done.stderr
    run = latest(lab3)
    assert wait_for_end(lab3, run)["exit_code"] == 0
    assert sum(path.stat().st_size for path in copies(lab3, run).glob("*/*/*")) < 10_000_000


@pytest.mark.parametrize(
    "python",
    [
        "#!/bin/sh\nexec yes\n",
        "#!/bin/sh\nexec cat /dev/zero\n",
        "#!/bin/sh\ncase $* in *compile) exit;; esac\necho hello; exec yes there\n",
    ],
    ids=["lines", "zeros", "agent"],
)
def test_python_that_prints_endlessly_is_reported_with_bounded_memory(
    lab3: Lab, tmp_path: Path, python: str
) -> None:
    node = lab3.nodes[-1]
    script = lab3.files(node) / "home" / f"python-{tmp_path.name}"
    script.write_text(python)
    script.chmod(0o755)
    found = lab3.run(["sh", "-c", "echo ~"], node=node).stdout.strip()
    inside = f"{found}/{script.name}"
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text(_with_python(lab3, node, inside))
    words = [*ORCH, "nodes", "-i", str(inventory)]
    limited = ["sh", "-c", 'ulimit -v 1000000; exec "$@"', "sh", *words]
    done = lab3.run(limited, timeout=60)
    assert "MemoryError" not in done.stderr and "bug in orch" not in done.stderr, done.stderr
    assert node in done.stdout + done.stderr
    for other in lab3.nodes[:-1]:
        assert other in done.stdout  # the other nodes' results are kept
    script.unlink()


def _with_python(lab: Lab, node: str, python: str) -> str:
    """Return the lab's inventory with this Python for one host."""
    lines = []
    for line in lab.inventory.read_text().splitlines():
        if f"name: {node}" in line:
            line = line.replace(f"name: {node}", f"name: {node}, python: {python}")
        lines.append(line)
    return "\n".join(lines)
