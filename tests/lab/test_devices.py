"""GPUs by index, and CPUs near them, on a node whose files show three GPUs and that has none."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .orch import ORCH

pytestmark = pytest.mark.lab

# In a mount namespace of its own: what NVIDIA's driver shows of three GPUs on the first NUMA node.
THREE_GPUS = """
mkdir "$1/dev" && mount --rbind /dev "$1/dev"
mount -t tmpfs none /proc/driver
mount -t tmpfs none /sys/bus/pci/devices
mount -t tmpfs none /dev
for name in null zero random urandom tty full; do
    touch /dev/$name && mount --bind "$1/dev/$name" /dev/$name
done
mkdir /dev/pts /dev/shm && mount --bind "$1/dev/pts" /dev/pts
ln -s /proc/self/fd /dev/fd && ln -s pts/ptmx /dev/ptmx
for gpu in 0 1 2; do
    shown=/proc/driver/nvidia/gpus/0000:${gpu}b:00.0 device=/sys/bus/pci/devices/0000:${gpu}b:00.0
    mkdir -p $shown $device
    printf 'Model: \\t NVIDIA H100\\nDevice Minor: \\t %s\\n' $gpu > $shown/information
    echo -1 > $device/numa_node
    touch /dev/nvidia$gpu
done
shift
exec "$@"
"""
SCRIPT = """
import json, os
names = ("LOCAL_RANK", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
print(json.dumps({**{n: os.environ.get(n) for n in names}, "cpus": sorted(os.sched_getaffinity(0))}))
"""


def launch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "job").mkdir()
    (folder / "job/train.py").write_text(SCRIPT)
    private = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        THREE_GPUS,
        "sh",
        str(folder),
    ]
    return subprocess.run(
        [*private, *ORCH, "launch", "--local", "1", "--preflight", "off",
         "--output", "json", *words, "train.py"],
        cwd=folder / "job",
        env={**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip


def ranks(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = [json.loads(event["text"]) for event in events if event.get("stream") == "stdout"]
    return sorted(found, key=lambda each: int(each["LOCAL_RANK"]))


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_included_gpus_are_the_ones_that_ranks_see(tmp_path: Path, launcher: str) -> None:
    found = ranks(launch(tmp_path, "--launcher", launcher, "--include", "local0:2,0"))
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["0,2", "0,2"]
    assert {each["CUDA_DEVICE_ORDER"] for each in found} == {"PCI_BUS_ID"}


def test_gpu_that_is_not_there_is_refused_before_the_start(tmp_path: Path) -> None:
    done = launch(tmp_path, "--launcher", "direct", "--include", "local0:7")
    assert done.returncode == 125
    assert "local0: devices: [7]: there is no GPU 7; it has 3 GPUs (0-2)" in done.stderr


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two ranks need two CPUs")
def test_ranks_are_bound_to_cpus_of_their_own(tmp_path: Path) -> None:
    words = (
        "--launcher",
        "direct",
        "--include",
        "local0:0,1",
        "--launcher-arg=--numa-binding=exclusive",
    )
    first, second = (set(each["cpus"]) for each in ranks(launch(tmp_path, *words)))
    assert first and second and not first & second
    assert first | second <= os.sched_getaffinity(0)
