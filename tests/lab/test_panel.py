"""The panel of a run on real hosts: GPU utilization arrives from the nodes, in launch and in attach."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import write
from .typed import Typed

pytestmark = pytest.mark.lab

# The sysfs of AMD's driver: 63 % busy, 16 of 64 GiB used. The links of the interfaces are kept.
GPU = """
set -e
cp -a /sys/class/net /tmp/net
mount -t tmpfs classes /sys/class
cp -a /tmp/net /sys/class/net
mkdir -p /sys/class/drm/card0/device && cd /sys/class/drm/card0/device
echo 63 >gpu_busy_percent
echo 17179869184 >mem_info_vram_used
echo 68719476736 >mem_info_vram_total
"""
JOB = """
import sys, time
for step in range(2000):
    print(f"step={step} loss=0.25", flush=True)
    print("UserWarning: err=99 loss=77", file=sys.stderr, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture
def with_gpu(lab3: Lab) -> Iterator[Lab]:
    """Hosts; node1 has a GPU."""
    assert lab3.run(["sh", "-c", GPU], node="node1").returncode == 0
    yield lab3
    assert lab3.run(["umount", "/sys/class"], node="node1").returncode == 0


def test_panel_of_launch_and_attach_shows_gpus_and_metrics(with_gpu: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "train.py", JOB)
    words: list[str | Path] = [
        "--launcher",
        "direct",
        "--preflight",
        "off",
        "--name",
        "panel",
        script,
    ]
    launched = Typed(with_gpu, "launch", "-i", with_gpu.inventory, *words, size=(140, 30))
    attached = None
    try:
        launched.wait_for("GPU 63% 16/64 GiB")
        launched.wait_for("printed 0 s ago")
        launched.wait_for("loss=0.25")
        attached = Typed(with_gpu, "attach", "--tail", "1", size=(140, 30))
        attached.wait_for("GPU 63% 16/64 GiB")
        launched.process.send_signal(signal.SIGINT)
        assert launched.end() == 130
        assert "loss=77" not in launched.shown.replace("UserWarning: err=99 loss=77", "")
    finally:
        launched.close()
        if attached is not None:
            attached.close()
