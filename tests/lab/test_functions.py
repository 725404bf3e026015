"""Functions over real SSH, on hosts that share nothing: what travels, hostile results, and failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import latest, processes_of_runs, write

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"

MODEL = """
import orchestrator as orch
from dataclasses import dataclass

@dataclass
class Net:
    width: int
    def wider(self):
        return Net(self.width + 1)

@orch.function(nproc=1)
def decorated(net):
    return net.wider()
"""

TRAVELS = """
import json, os, sys
from dataclasses import dataclass
import orchestrator as orch
import model

@dataclass(frozen=True)
class Point:
    x: int

def closure(factor):
    def train(net, *, extra):
        print("rank", os.environ["RANK"], flush=True)
        return Point(net.wider().width * factor + extra), model.Net(7), sys.modules.get("cloudpickle")
    return train

def reduce():
    import torch, torch.distributed as dist
    dist.init_process_group("gloo")
    total = torch.tensor([float(os.environ["RANK"]), 1.0])
    dist.all_reduce(total)
    dist.destroy_process_group()
    return total

if __name__ == "__main__":
    options = {"hosts": sys.argv[1], "nproc": 1}
    found = {
        "closure": repr(list(orch.run(closure(10), model.Net(1), extra=3, launcher="direct", **options))),
        "lambda": list(orch.run(lambda: os.uname().nodename, launcher="direct", **options)),
        "decorated": repr(list(orch.run(model.decorated, model.Net(1), launcher="direct", **options))),
    }
    if "torch" in sys.argv:
        found["reduce"] = [each.tolist() for each in orch.run(reduce, launcher="torchrun", **options)]
    print(json.dumps(found))
"""


def python(
    lab: Lab, *words: str | Path, cwd: Path, timeout: float = 150
) -> subprocess.CompletedProcess[str]:
    return lab.run([sys.executable, *words], cwd=cwd, timeout=timeout)


def last_json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_functions_and_results_travel_between_hosts_that_share_nothing(
    lab3: Lab, tmp_path: Path
) -> None:
    job = tmp_path / "travels"
    write(job, "model.py", MODEL)
    script = write(job, "go.py", TRAVELS)
    found = last_json(python(lab3, script, lab3.inventory, cwd=job))
    assert found == {
        "closure": repr([None] * 3).replace("None", "(Point(x=23), Net(width=7), None)"),
        "lambda": lab3.nodes,
        "decorated": repr([None] * 3).replace("None", "Net(width=2)"),
    }
    assert processes_of_runs(lab3, latest(lab3)) == []


@pytest.mark.torch
def test_all_reduce_inside_a_function(lab3: Lab, tmp_path: Path) -> None:
    job = tmp_path / "reduces"
    write(job, "model.py", MODEL)
    script = write(job, "go.py", TRAVELS)
    found = last_json(python(lab3, script, lab3.inventory, "torch", cwd=job))
    assert found["reduce"] == [[3.0, 3.0]] * 3


HOSTILE = """
import os, pickle, sys
import orchestrator as orch

class Harm:
    def __reduce__(self):
        return os.mkdir, ("/tmp/harmed",)

def hostile():
    path, rank = os.environ["ORCH_RESULT"], int(os.environ["RANK"])
    if rank == 0:
        with open(path, "wb") as file:
            file.write(pickle.dumps(Harm()))
    if rank == 1:
        with open(path, "wb") as file:
            file.truncate(10_000_000_000)
    if rank == 2:
        os.symlink("/etc/passwd", path)
    os._exit(0)

if __name__ == "__main__":
    results = orch.run(hostile, hosts=sys.argv[1], nproc=1, launcher="direct", preflight="off")
    for rank in range(3):
        try:
            results[rank]
        except orch.OrchError as error:
            print(type(error).__name__, error)
"""


def test_hostile_results_harm_nothing_and_are_named(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "hostile", "go.py", HOSTILE)
    done = python(lab3, script, lab3.inventory, cwd=script.parent)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "NodeError node0: the result of rank 0 cannot be loaded: it does not begin" in lines[0]
    assert "node1: the result of rank 1 has 10.0 GB, more than result_limit allows" in done.stderr
    assert "node2: " in done.stderr
    assert done.stdout.count("NoResult") == 2
    assert not Path("/tmp/harmed").exists()


FAILS = """
import os, sys, time
import orchestrator as orch

def train():
    if os.environ["RANK"] == "0":
        return "saved"
    print("up", flush=True)
    if os.environ["RANK"] == "2":
        time.sleep(2)  # rank 0's result is there by then
        raise LookupError("no shard 7")
    time.sleep(1000)

if __name__ == "__main__":
    try:
        orch.run(train, hosts=sys.argv[1], nproc=1, launcher="direct", preflight="off")
    except LookupError as error:
        print("caught", error, list(error.results), error.others, "no shard 7" in str(error.__cause__))
"""


def test_exception_comes_from_its_node_with_partial_results(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "fails", "go.py", FAILS)
    done = python(lab3, script, lab3.inventory, cwd=script.parent)
    assert done.stdout.splitlines()[-1] == "caught no shard 7 ['saved'] {} True", done.stderr
    assert processes_of_runs(lab3, latest(lab3)) == []


VANISHES = """
import os, sys, time
import orchestrator as orch

def train():
    print("up", flush=True)
    time.sleep(1000)

if __name__ == "__main__":
    try:
        orch.run(train, hosts=sys.argv[1], nproc=1, launcher="direct", preflight="off", node_timeout=4)
    except orch.RunFailed as error:
        print("caught", error.result.outcome, list(error.results), error, flush=True)
"""


def test_vanished_node_raises_run_failed(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "vanishes", "go.py", VANISHES)
    with lab.popen(
        [sys.executable, script, lab.inventory], cwd=script.parent, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert all(b"up" in process.stdout.readline() for _ in range(2))
        lab.vanish("node1")
        said = process.stdout.read().decode()
        assert process.wait(60) == 0
    assert said.startswith("caught "), said
    assert "node1" in said
    assert processes_of_runs(lab, latest(lab)) == []
