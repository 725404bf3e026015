"""`--launcher ray` with a real Ray: a cluster around one script, and nothing left of it.

ORCH_RAY names the Python that has ray, outside of folders that hosts of the lab have for themselves (/tmp,
the home).
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    Launch,
    agents,
    detached,
    launch,
    orch,
    processes_of_runs,
    wait_for_copies,
    write,
)

_PYTHON = os.environ.get("ORCH_RAY", "")

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not _PYTHON, reason="needs ray: ORCH_RAY=/path/to/its/python"),
]

# Serves like an engine that spreads its workers over the cluster: an actor on each node, then requests.
_SERVE = """
import os, sys, time
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

@ray.remote(num_cpus=0)
class Worker:
    def answer(self, request):
        print("worker", os.uname().nodename, "answers", request, flush=True)
        return os.uname().nodename, os.environ["VLLM_HOST_IP"]

ray.init()
nodes = ray.nodes()
print(len(nodes), "nodes at", os.environ["RAY_ADDRESS"], flush=True)
workers = [Worker.options(scheduling_strategy=On(n["NodeID"], soft=False)).remote() for n in nodes]
for host, address in sorted(ray.get([worker.answer.remote(7) for worker in workers])):
    print("answer of", host, address, flush=True)
if sys.argv[1] == "serve":
    print("serving", flush=True)
    time.sleep(300)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def inventory(lab3: Lab, tmp_path: Path) -> Path:
    """The hosts of the lab, with the Python that has ray."""
    text = re.sub(r"(?m)^(\s+)python: .*$", rf'\1python: "{_PYTHON}"', lab3.inventory.read_text())
    assert _PYTHON in text
    (tmp_path / "ray.yaml").write_text(text)
    return tmp_path / "ray.yaml"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return write(tmp_path / "job", "serve.py", _SERVE)


def left(lab: Lab) -> list[object]:
    """Return processes and files of runs that are left on the nodes."""
    found: list[object] = [*processes_of_runs(lab), *agents(lab)]
    marks = ("ray::", "/ray/_private/", "/ray/core/src/", "ray.scripts")
    for node in lab.nodes:
        argvs = [process.argv for process in lab.processes(node)]
        found += [argv for argv in argvs if any(mark in word for word in argv for mark in marks)]
    found += [path for node in lab.nodes for path in (lab.files(node) / "tmp").glob("orch-*")]
    return found


def test_actor_on_every_node_answers_and_nothing_is_left(
    lab3: Lab, inventory: Path, script: Path
) -> None:
    every_line = ("--env", "RAY_DEDUP_LOGS=0")  # also those that differ only by a number
    done = launch(lab3, "--launcher", "ray", *every_line, script, "0", inventory=inventory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 nodes at 198.18.0.10:29500" in done.stdout
    for number in range(3):
        assert f"answer of node{number} 198.18.0.1{number}\n" in done.stdout
        assert f"worker node{number} answers 7" in done.stdout
    assert "the script succeeded" in done.stderr
    assert left(lab3) == []


def test_program_and_its_exit_code_are_those_of_the_run(
    lab3: Lab, inventory: Path, script: Path
) -> None:
    program = write(script.parent, "serve.sh", f"#!/bin/sh\nexec {_PYTHON} serve.py 7\n")
    program.chmod(0o755)
    done = launch(lab3, "--launcher", "ray", "--restarts", "1", program, inventory=inventory)
    assert done.returncode == 7, done.stdout + done.stderr
    assert done.stdout.count("answer of node2") == 2  # the second cluster has all nodes, too
    assert "rank 0 on node0 exited with 7" in done.stderr
    assert left(lab3) == []


def test_killed_raylet_ends_the_run_and_is_the_cause(
    lab3: Lab, inventory: Path, script: Path
) -> None:
    with Launch(lab3, "--launcher", "ray", script, "serve", inventory=inventory) as running:
        running.wait_for_lines(1, "serving")
        (raylet,) = [p for p in lab3.processes("node2") if p.argv[0].endswith("/raylet")]
        os.kill(raylet.pid, signal.SIGKILL)
        assert running.end() == 1
    assert "the launcher on node2 exited with 1" in running.err
    assert "raylet ended with exit code -9" in " ".join(running.err.split())
    assert left(lab3) == []


def test_stop_of_a_background_run_ends_the_cluster(
    lab3: Lab, inventory: Path, script: Path
) -> None:
    run = detached(lab3, "--launcher", "ray", script, "serve", inventory=inventory)
    wait_for_copies(lab3, run, 1, "serving", 60)
    done = orch(lab3, "stop", run)
    assert done.returncode == 0, done.stderr
    assert left(lab3) == []
