"""Verdicts are correct, also for runs that end in unusual ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import launch, processes_of_runs, record, run_name, write

pytestmark = pytest.mark.lab

STATE = "/root/.local/state/orch"
DIRECT = ("--nodes", "node0", "--launcher", "direct", "--preflight", "off")

# Rank 0 saves behind a barrier that the others never reach: they wait for it in the next backward pass.
SAVES_ALONE = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
for step in range(4):
    loss = model(torch.randn(2, 4)).sum()
    loss.backward()
    if dist.get_rank() == 0 and step == 1:
        dist.barrier()
"""


@pytest.mark.torch
def test_collective_of_one_rank_warns_and_names_the_rank(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "train.py", SAVES_ALONE)
    done = launch(
        lab3, "--nodes", "node[0-1]", "--nproc", "2", "--stall", "8", "--on-stall", "stop", script
    )
    assert done.returncode == 1, done.stderr
    assert "train.py:9: every rank must call dist.barrier()" in done.stderr
    assert "(line 8) lets only some" in done.stderr
    want = "suspect: r0 barrier (train.py:9): the others wait in backward (train.py:7)"
    assert want in done.stderr


@pytest.mark.torch
def test_ranks_without_a_common_world_are_refused_with_the_launcher_to_use(
    lab3: Lab, tmp_path: Path
) -> None:
    pytest.importorskip("lightning")
    source = (
        "from lightning.fabric import Fabric\nfabric = Fabric()\n"
        "print('rank', fabric.global_rank, 'of', fabric.world_size, flush=True)\n"
    )
    script = write(tmp_path / "job", "train.py", source)
    words = ("--nodes", "node[0-1]", script)
    refused = launch(lab3, *words)
    assert refused.returncode == 125
    assert "train.py:2: Fabric() is for a single rank" in refused.stderr
    assert "use --launcher fabric" in refused.stderr
    done = launch(lab3, "--launcher", "fabric", *words)
    assert done.returncode == 0, done.stderr
    assert "rank 1 of 2" in done.stdout
    assert "all 2 ranks succeeded" in done.stderr


# After one rank finished early and one failed, the other two do all the work again.
EARLY = """
import os, sys, time
rank, world = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
print(f"rank {rank} of {world}", flush=True)
if world == 3:
    if rank == 1:
        sys.exit(0)
    time.sleep(4 if rank == 2 else 60)
    sys.exit(1)
"""


@pytest.mark.torch
def test_elastic_run_succeeds_with_its_last_round(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    script = write(tmp_path / "job", "train.py", EARLY)
    done = launch(make_lab(3), "--nproc", "1", "--elastic", "2:3", "--preflight", "off", script)
    assert done.returncode == 0, done.stderr
    assert "all 2 ranks of the last round succeeded" in done.stderr


@pytest.mark.torch
def test_launcher_whose_ranks_are_not_visible_succeeds(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "train.py", "print('trained', flush=True)\n")
    words = ("--nodes", "node[0-1]", "--preflight", "off", "--launcher-arg=--run-path")
    done = launch(lab3, *words, script)
    assert done.returncode == 0, done.stderr
    assert "the launcher succeeded on all 2 nodes" in done.stderr


def test_message_of_sys_exit_is_reported_as_the_error(lab3: Lab, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job", "t.py", "import sys\nsys.exit('no data set is called imagnet')\n"
    )
    done = launch(lab3, *DIRECT, script)
    assert done.returncode == 1
    assert "error:  no data set is called imagnet" in done.stderr


LEAVING = """
import subprocess
subprocess.Popen(["setsid", "sh", "-c", "sleep {seconds}; touch /tmp/uploaded"])
"""


def test_upload_that_a_rank_leaves_running_is_waited_for_and_named(
    lab3: Lab, tmp_path: Path
) -> None:
    uploaded = lab3.files("node0") / "tmp/uploaded"
    script = write(tmp_path / "job", "t.py", LEAVING.format(seconds=4))
    done = launch(lab3, *DIRECT, script)
    assert done.returncode == 0, done.stderr
    assert uploaded.exists()
    assert "node0: the ranks have succeeded and left process" in done.stderr
    assert "waiting up to 60 s" in done.stderr
    assert "1 rank succeeded" in done.stderr
    uploaded.unlink()


def test_leftovers_after_the_linger_time_are_ended_and_reported(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "t.py", LEAVING.format(seconds=1000))
    done = launch(lab3, *DIRECT, "--linger", "2", script)
    assert done.returncode == 0, done.stderr
    assert "node0: ended process" in done.stderr
    assert "which the ranks had left running (--linger 2)" in done.stderr
    assert processes_of_runs(lab3, run_name(done.stderr)) == []


def mount(lab: Lab, *options: str) -> None:
    """Mount a file system at the state folder of node0."""
    assert lab.run(["mkdir", "-p", STATE], node="node0").returncode == 0
    done = lab.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", STATE], node="node0")
    assert done.returncode == 0, done.stderr


@pytest.mark.torch
def test_noexec_home_is_reported_before_the_start(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    mount(lab, "noexec")
    script = write(tmp_path / "job", "t.py", "print('ran')\n")
    checked = launch(lab, script)
    assert checked.returncode == 125
    assert "is mounted noexec, and torchrun runs a program of orch's there" in checked.stderr
    unchecked = launch(lab, "--preflight", "off", script)
    assert unchecked.returncode == 125
    assert "use --launcher direct" in unchecked.stderr
    assert launch(lab, "--launcher", "direct", script).returncode == 0


def test_full_disk_is_the_cause_of_a_silent_failure(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    mount(lab, "size=4m")
    source = (
        "import os\nfill = open(os.environ['ORCH_DIR'] + '/fill', 'wb', buffering=0)\n"
        "try:\n    while True: fill.write(bytes(4096))\n"
        "except OSError:\n    pass\n"
        "os._exit(1)\n"
    )
    script = write(tmp_path / "job", "t.py", source)
    done = launch(lab, "--preflight", "off", "--launcher", "direct", script)
    assert done.returncode == 1
    verdict = record(lab, run_name(done.stderr))["verdict"]
    assert verdict["signature"] == "disk.full"
    assert f"no space is left in {STATE}" in verdict["evidence"]
