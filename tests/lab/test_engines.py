"""Every launcher starts the same job on nodes with 2, 4 and 1 ranks, and reports the same failure.

With the real Accelerate, DeepSpeed and Lightning if ORCH_ENGINES is a Python that has them and torch.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import launch, processes_of_runs, record, run_name, write

pytestmark = pytest.mark.lab

_PYTHON = os.environ.get("ORCH_ENGINES")
_SCRIPTS = Path(__file__).with_name("engines")
_EXAMPLES = Path(__file__).parents[2] / "examples"
_LAUNCHERS = ("torchrun", "direct", "fabric", "accelerate", "deepspeed")
_DEVICES = {"node0": 2, "node1": 4, "node2": 1}
_PLAIN = ("-e", "OMP_NUM_THREADS=1", "--preflight", "off")
_ALL = pytest.mark.skipif(not _PYTHON, reason="not asked for: ORCH_ENGINES=PYTHON")

_SHOWS = """
import os, sys
names = "RANK LOCAL_RANK LOCAL_SIZE CROSS_RANK CROSS_SIZE WORLD_SIZE TOKEN".split()
print(*(os.environ[name] for name in names), *sys.argv[1:], flush=True)
"""


def uneven(lab: Lab, folder: Path) -> Path:
    """Return an inventory of the lab with 2, 4 and 1 ranks."""
    text = lab.inventory.read_text()
    for node, devices in _DEVICES.items():
        text = text.replace(f"name: {node},", f"name: {node}, devices: {devices},")
    inventory = folder / "hosts.yaml"
    inventory.write_text(text)
    return inventory


def test_deepspeed_starts_each_rank_with_its_local_rank_and_hides_the_file(
    lab3: Lab, tmp_path: Path
) -> None:
    script = write(tmp_path / "job", "t.py", _SHOWS)
    variables = tmp_path / "variables"
    variables.write_text("# of DeepSpeed\n\nTOKEN=tok en-4711\n")
    words = ("--launcher", "deepspeed", "--preflight", "off", script, "--lr", "1")
    environment = {"DS_ENV_FILE": str(variables)}
    done = launch(lab3, *words, inventory=uneven(lab3, tmp_path), env=environment)
    assert done.returncode == 0, done.stderr
    lines = sorted(line.partition("│ ")[2] for line in done.stdout.splitlines())
    local = [number for count in _DEVICES.values() for number in range(count)]
    assert lines == [
        f"{rank} {number} {count} {node} 3 7 tok en-4711 --local_rank={number} --lr 1"
        for rank, (number, (node, count)) in enumerate(zip(local, _nodes(), strict=True))
    ]
    run = run_name(done.stderr)
    assert "4711" not in (lab3.home / f".local/state/orch/runs/{run}/run.json").read_text()


def _nodes() -> list[tuple[int, int]]:
    """Return the node rank and the number of devices of each rank's node."""
    counts = _DEVICES.values()
    return [(node, count) for node, count in enumerate(counts) for _ in range(count)]


@pytest.fixture(scope="module")
def engines(_labs: Any) -> Iterator[Lab]:
    """Three hosts whose Python has the engines."""
    lab: Lab = _labs.up(3, python=_PYTHON)
    yield lab
    _labs.down(lab)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts, with the examples that they import."""
    folder = tmp_path / "project"
    shutil.copytree(_SCRIPTS, folder)
    for file in _EXAMPLES.glob("digits*.py"):
        shutil.copy(file, folder)
    return folder


@_ALL
@pytest.mark.torch
@pytest.mark.timeout(600)
def test_sum_and_loss_are_the_same_under_every_launcher(
    engines: Lab, project: Path, tmp_path: Path
) -> None:
    inventory = uneven(engines, tmp_path)
    found = {}
    for launcher in _LAUNCHERS:
        words = ("--launcher", launcher, "--sync", project, *_PLAIN)
        done = launch(engines, *words, project / "exact.py", inventory=inventory, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "all 7 ranks succeeded" in done.stderr
        found[launcher] = sorted(re.findall(r"(?:rank \d of|loss of) .*", done.stdout))
        assert processes_of_runs(engines, run_name(done.stderr)) == []
    expected = found["torchrun"]
    assert expected == [
        *(f"loss of rank {rank}: {expected[0].split()[-1]}" for rank in range(7)),
        *(
            f"rank {rank} of 7, local {number}: 21"
            for rank, number in enumerate([0, 1, 0, 1, 2, 3, 0])
        ),
    ]
    assert found == dict.fromkeys(_LAUNCHERS, expected)


@_ALL
@pytest.mark.torch
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("option", "code", "summary"),
    [("--raises", 1, "rank 3 on node1 exited with 1"),
     ("--killed", 137, "rank 3 on node1 was killed by SIGKILL")],
)  # fmt: skip
def test_verdict_is_the_same_under_every_launcher(
    engines: Lab, project: Path, tmp_path: Path, option: str, code: int, summary: str
) -> None:
    inventory = uneven(engines, tmp_path)
    for launcher in _LAUNCHERS:
        words = ("--launcher", launcher, "--sync", project, *_PLAIN)
        script = (project / "exact.py", option, "3")
        done = launch(engines, *words, *script, inventory=inventory, timeout=300)
        run = run_name(done.stderr)
        ended = record(engines, run)
        assert (done.returncode, ended["summary"]) == (code, summary), (launcher, done.stderr)
        if option == "--raises":
            assert re.search(r"error: +ValueError: the learning rate is not a number", done.stderr)
        assert processes_of_runs(engines, run) == []


@_ALL
@pytest.mark.torch
@pytest.mark.timeout(600)
def test_accelerate_and_deepspeed_find_the_job(engines: Lab, project: Path, tmp_path: Path) -> None:
    inventory = uneven(engines, tmp_path)
    (project / "accelerate_config.yaml").write_text(
        "distributed_type: DEEPSPEED\nmixed_precision: bf16\nnum_machines: 8\nnum_processes: 64\n"
        "machine_rank: 5\nmain_process_ip: 192.0.2.1\nmain_process_port: 1\nrdzv_backend: c10d\n"
        "deepspeed_config:\n  zero_stage: 2\n  deepspeed_multinode_launcher: pdsh\n"
        "  deepspeed_hostfile: /none\n"
    )
    for launcher, seen in (("accelerate", "bf16 2"), ("deepspeed", "None None")):
        words = ("--launcher", launcher, "--sync", project)
        done = launch(engines, *words, project / "own_words.py", inventory=inventory, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = sorted(re.findall(r"rank \d of .*", done.stdout))
        assert lines == [f"rank {rank} of 7: 7 {seen}" for rank in range(7)]
        assert processes_of_runs(engines, run_name(done.stderr)) == []


@_ALL
@pytest.mark.torch
@pytest.mark.timeout(300)
def test_single_rank_of_accelerate_is_seen(engines: Lab, project: Path) -> None:
    words = ("--nodes", "node0", "--launcher", "accelerate", "--sync", project)
    done = launch(engines, *words, project / "exact.py", "--raises", "0", timeout=200)
    assert done.returncode == 1
    assert record(engines, run_name(done.stderr))["summary"] == "rank 0 on node0 exited with 1"
    assert "rank 0 of 1, local 0: 0" in done.stdout
