"""Inside an allocation, orch takes the nodes from Slurm and reaches them with srun."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
from labkit import slurm
from labkit.lab import Lab

from ..orch import ORCH, latest, processes_of_runs, record, wait_until, write

pytestmark = [pytest.mark.lab, pytest.mark.slurm]

ROOT = Path(__file__).parents[3]
HELLO = """
import os
known = sorted(name for name in os.environ if name.startswith("SLURM_"))
print(os.environ["RANK"], "on", os.uname().nodename, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
assert "SLURM_PROCID" not in known and "SLURM_NTASKS" not in known, known
assert os.environ["SLURM_JOB_ID"] and os.environ["SLURM_JOB_NAME"] == "exp", known
"""
FAILS = """
import os, sys, time
print("up", flush=True)
if os.environ["RANK"] == "1":
    sys.exit(3)
time.sleep(600)
"""
WAITS = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


def salloc(
    lab: Lab, options: str, *words: str | Path, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a command in an allocation."""
    argv = ["salloc", "--quiet", "--job-name=exp", *options.split(), *map(str, words)]
    return slurm.run(lab, argv, cwd=folder)


def test_launch_takes_nodes_order_and_gpus_from_slurm(cluster: Lab, tmp_path: Path) -> None:
    write(tmp_path / "exp", "train.py", HELLO)
    (tmp_path / "exp" / "hosts.yaml").write_text("hosts: [elsewhere]\n")
    orch = [*ORCH, "launch", "--launcher", "direct", "train.py"]
    done = salloc(cluster, "-N3 --gpus-per-node=2", *orch, folder=tmp_path / "exp")
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"\d on node\d \S+", done.stdout)) == [
        f"{rank} on node{rank // 2} 0,1" for rank in range(6)
    ]
    said = (
        r"orch: in Slurm job \d+: 3 nodes, node\[0-2\]; -i hosts.yaml for the hosts in that file\n"
    )
    assert re.search(said, done.stderr)
    record_ = record(cluster, latest(cluster))
    assert record_["settings"]["transport"]["name"] == "srun"
    assert [node["host"]["name"] for node in record_["plan"]["nodes"]] == [
        "node0",
        "node1",
        "node2",
    ]


def test_launch_in_a_batch_script_has_a_rank_for_each_task(cluster: Lab, tmp_path: Path) -> None:
    """The script runs on a node, which has no project: it brings its own."""
    body = f"""#!/bin/sh
    mkdir -p /tmp/exp && cd /tmp/exp && echo '{HELLO}' > train.py
    PYTHONPATH={ROOT} {" ".join(ORCH)} launch --launcher direct train.py
    """
    batch = write(tmp_path / "exp", "job.sh", body)
    options = ["--wait", "--quiet", "--job-name=exp", "-N2", "--ntasks-per-node=2"]
    done = slurm.run(cluster, ["sbatch", *options, "--output=/tmp/out", batch], cwd=Path("/"))
    out = (cluster.files("node0") / "tmp/out").read_text()
    assert done.returncode == 0, out
    assert sorted(re.findall(r"\d on node\d", out)) == [
        "0 on node0", "1 on node0", "2 on node1", "3 on node1",
    ]  # fmt: skip


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_failing_rank_stops_all_nodes(cluster: Lab, tmp_path: Path, launcher: str) -> None:
    write(tmp_path / "exp", "train.py", FAILS)
    orch = [*ORCH, "launch", "--launcher", launcher, "--preflight", "off", "train.py"]
    done = salloc(cluster, "-N3", *orch, folder=tmp_path / "exp")
    assert done.returncode == 3, done.stderr
    assert "rank 1 on node1 exited with 3" in done.stderr
    assert processes_of_runs(cluster) == []


FABRIC = """
import torch
from lightning.fabric import Fabric
fabric = Fabric(accelerator="cpu", strategy="ddp", devices=2, num_nodes=2)
fabric.launch()
total = fabric.all_reduce(torch.tensor(float(fabric.global_rank + 1)), reduce_op="sum")
print(f"sum {total.item()} on rank {fabric.global_rank} of {fabric.world_size}\\n", end="", flush=True)
fabric.barrier()
"""


@pytest.mark.torch
@pytest.mark.parametrize("launcher", ["fabric", "python", "torchrun"])
def test_lightning_counts_the_ranks_of_orch_not_the_tasks(
    cluster: Lab, tmp_path: Path, launcher: str
) -> None:
    """With one task a node, Lightning refuses two devices, if it takes itself for a task."""
    pytest.importorskip("lightning")
    script = FABRIC.replace("fabric.launch()\n", "") if launcher == "fabric" else FABRIC
    write(tmp_path / "exp", "train.py", script)
    orch = [*ORCH, "launch", "--launcher", launcher, "--nproc", "2", "train.py"]
    done = salloc(cluster, "-N2 --ntasks-per-node=1", *orch, folder=tmp_path / "exp")
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"sum .*", done.stdout)) == [
        f"sum 10.0 on rank {rank} of 4" for rank in range(4)
    ]


def test_inventory_wins_over_the_allocation(cluster: Lab, tmp_path: Path) -> None:
    orch = [*ORCH, "exec", "-i", str(cluster.inventory), "--nodes", "node3", "--", "hostname"]
    done = salloc(cluster, "-N1", *orch, folder=tmp_path)
    assert (done.returncode, "Slurm" in done.stderr) == (0, False), done.stderr
    assert done.stdout.split()[0] == "node3"


def test_transport_ssh_reaches_the_nodes_of_the_allocation(cluster: Lab, tmp_path: Path) -> None:
    orch = [*ORCH, "exec", "--transport", "ssh", "--", "printenv", "SSH_CONNECTION"]
    done = salloc(cluster, "-N2", *orch, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\S+) │ 198\.18\.0\.1 ", done.stdout) == ["node0", "node1"]


def test_run_without_its_controller_lasts_and_is_found_again(cluster: Lab, tmp_path: Path) -> None:
    write(tmp_path / "exp", "train.py", WAITS)
    orch = " ".join(ORCH)
    script = f"""
    {orch} launch --launcher direct --preflight off train.py > out &
    until grep -q up out; do sleep 0.1; done
    kill -KILL $!; wait
    {orch} status && {orch} stop
    """
    done = salloc(cluster, "-N2", "sh", "-c", script, folder=tmp_path / "exp")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"r\d +running", done.stdout)) == 2
    assert record(cluster, latest(cluster))["summary"] == "stopped by orch stop"
    assert processes_of_runs(cluster) == []


def test_run_left_in_the_background_is_followed_to_its_end(cluster: Lab, tmp_path: Path) -> None:
    write(tmp_path / "exp", "train.py", HELLO)
    orch = " ".join(ORCH)
    script = f"""
    {orch} launch --launcher direct --preflight off --detach train.py &&
    {orch} logs --follow
    """
    done = salloc(cluster, "-N2", "sh", "-c", script, folder=tmp_path / "exp")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"\d on node\d", done.stdout)) == 2
    assert record(cluster, latest(cluster))["exit_code"] == 0


def test_interrupt_stops_the_run_and_keeps_the_allocation(cluster: Lab, tmp_path: Path) -> None:
    write(tmp_path / "exp", "train.py", WAITS)
    job = slurm.run(cluster, ["salloc", "--no-shell", "-N2"]).stderr.split()[-1]
    process = cluster.popen(
        [
            *ORCH,
            "launch",
            "-i",
            f"slurm:{job}",
            "--launcher",
            "direct",
            "train.py",
        ],
        env=slurm.ENVIRONMENT,
        cwd=tmp_path / "exp",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        assert b"up" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(60) == 130
    wait_until(lambda: slurm.run(cluster, ["squeue", "-hs", "--job", job]).stdout == "")
    assert slurm.jobs(cluster) == [f"{job} RUNNING"]
    assert slurm.run(cluster, ["scancel", job]).returncode == 0


def test_task_of_an_array_is_an_inventory(cluster: Lab) -> None:
    options = ["--parsable", "--array=3-4", "-N1", "-o/dev/null", "--wrap", "sleep 600"]
    job = slurm.run(cluster, ["sbatch", *options], cwd="/").stdout.strip()
    wait_until(lambda: slurm.jobs(cluster) == [f"{job}_3 RUNNING", f"{job}_4 RUNNING"])
    done = slurm.run(cluster, [*ORCH, "exec", "-i", f"slurm:{job}_3", "--", "hostname"])
    assert done.returncode == 0, done.stderr
    slurm.run(cluster, ["scancel", job])


def test_heterogeneous_job_is_refused(cluster: Lab, tmp_path: Path) -> None:
    orch = [*ORCH, "exec", "--", "hostname"]
    argv = ["salloc", "--quiet", "-N1", ":", "-N1", *orch]
    done = slurm.run(cluster, argv, cwd=tmp_path)
    assert (done.returncode, "is heterogeneous" in done.stderr) == (2, True), done.stderr


def test_ended_job_is_no_inventory(cluster: Lab, tmp_path: Path) -> None:
    done = slurm.run(cluster, [*ORCH, "nodes", "-i", "slurm:99999"])
    assert done.returncode == 2
    assert "slurm:99999: scontrol: " in done.stderr
    assert "Invalid job id" in done.stderr
