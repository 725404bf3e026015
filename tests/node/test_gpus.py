"""How busy GPUs are, on recorded output of nvidia-smi and files of sysfs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node import gpus

from ..recorded import shapes
from .conftest import AgentProcess

MIB = 1 << 20


def test_parse_has_a_gpu_per_line() -> None:
    found = gpus.parse(shapes.text("nvidia-smi/query-gpu.csv"))
    assert [(gpu["index"], gpu["busy"], gpu["used"], gpu["total"]) for gpu in found] == [
        (0, 97, 62341 * MIB, 81559 * MIB),
        (1, 0, 4 * MIB, 81559 * MIB),
        (2, None, 25 * MIB, 81920 * MIB),  # MIG
        (3, None, None, None),  # lost
    ]
    assert found[0]["uuid"] == "GPU-1f0a3c5e-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found\n",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "Unable to determine the device handle for GPU0000:65:00.0: Unknown Error\n",
    ],
)
def test_parse_of_error_message_has_no_gpu(text: str) -> None:
    assert gpus.parse(text) == []


@given(st.text(alphabet="0123456789, []/NAx\n-", max_size=200))
def test_parse_of_any_text_is_bounded(text: str) -> None:
    assert len(gpus.parse(text)) <= 64


@pytest.mark.parametrize(
    ("visible", "indexes"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-1f0a3c5e-0000-4000-8000-000000000001", [1]),
        ("1,7,0", [1]),
        ("MIG-abc", [0, 1, 2, 3]),
    ],
)
def test_cuda_visible_devices_selects_gpus_in_its_order(
    visible: str | None, indexes: list[int]
) -> None:
    found = gpus.parse(shapes.text("nvidia-smi/query-gpu.csv"))
    assert [gpu["index"] for gpu in gpus.chosen(found, visible)] == indexes


def test_amd_gpus_are_read_from_sysfs(tmp_path: Path) -> None:
    for card, total in (("card0", None), ("card1", "68702699520"), ("card1-DP-1", None)):
        device = tmp_path / "sys/class/drm" / card / "device"
        device.mkdir(parents=True)
        if total is not None:
            (device / "mem_info_vram_total").write_text(f"{total}\n")
            (device / "mem_info_vram_used").write_text("10977280\n")
            (device / "gpu_busy_percent").write_text("63\n")
    found = gpus.sample(time.monotonic() + 5, str(tmp_path))
    assert found == [{"index": 0, "uuid": "", "busy": 63, "used": 10977280, "total": 68702699520}]


def test_sample_without_gpus_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus.sample(time.monotonic() + 5, str(tmp_path)) == []


def smi(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine with an NVIDIA GPU, first in PATH; `smi` writes its nvidia-smi."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_sample_queries_what_is_parsed(machine: Path) -> None:
    smi(machine, 'case "$*" in *index,uuid,utilization.gpu,memory.used,memory.total*) '
                 'echo "0, GPU-1, 42, 1024, 81559";; esac')  # fmt: skip
    found = gpus.sample(time.monotonic() + 20, str(machine))
    assert found is not None
    assert (found[0]["busy"], found[0]["used"]) == (42, 1 << 30)


def test_sample_of_hanging_nvidia_smi_is_none(machine: Path) -> None:
    smi(machine, "exec sleep 1000")
    assert gpus.sample(time.monotonic() + 0.2, str(machine)) is None


def test_gpus_verb_without_gpus_is_empty(agent: AgentProcess) -> None:
    answer = agent.ask("gpus", limit=20.0, visible="")
    assert answer["ok"] == {"gpus": [], "answered": True}
