"""The GPUs of a node and the links between them, on recorded output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node.probes import command, fabric, gpu

from ..recorded import shapes
from .conftest import AgentProcess


def stub(folder: Path, name: str, script: str) -> None:
    """Put a command `name` into `folder`."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def recorded(name: str) -> list[dict[str, Any]]:
    return gpu.parse(shapes.text(f"nvidia-smi/{name}.xml"))


def test_parse_of_eight_healthy_gpus() -> None:
    gpus = recorded("h100x8-550")
    assert [entry["minor"] for entry in gpus] == list(range(8))
    assert gpus[3] == {
        "bus": "00000000:61:00.0",
        "minor": 3,
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": "GPU-1f0a3c5e-0000-4000-8000-000000000003",
        "memory": 81559,
        "used": 4,
        "mig": False,
        "volatile": 0,
        "aggregate": 0,
        "flags": {
            "remap pending": "No",
            "remap failure": "No",
            "retirement pending": None,
            "channel repair pending": None,
            "tpc repair pending": None,
            "unrepairable memory": None,
            "sram threshold": "No",
            "reset required": "No",
            "recovery": None,
        },
        "fabric": {"state": "Completed", "status": "Success", "health": None},
        "sick": None,
        "processes": [],
    }


def test_errors_processes_and_flags_belong_to_their_gpu() -> None:
    gpus = recorded("h100x8-550-sick")
    assert [entry["volatile"] for entry in gpus] == [0, 0, 0, 0, 0, 4, 0, 0]
    assert [entry["aggregate"] for entry in gpus] == [8, 0, 0, 0, 0, 3, 0, 0]
    assert [entry["flags"]["remap pending"] for entry in gpus].index("Yes") == 5
    assert [entry["flags"]["remap failure"] for entry in gpus].index("Yes") == 6
    assert gpus[7]["fabric"] == {"state": "In Progress", "status": None, "health": None}
    # Xorg, a graphics process, is left out.
    assert gpus[1]["processes"] == [
        {
            "pid": 912345,
            "name": "/opt/conda/bin/python -u train.py --lr 1e-4",
            "used": 61234,
            "owner": None,
            "run": None,
        }
    ]


def test_parse_knows_tags_of_older_and_newer_drivers() -> None:
    (volta,) = recorded("v100-418")
    assert (volta["volatile"], volta["aggregate"]) == (2, 2)
    assert volta["flags"]["retirement pending"] == "Yes"
    mig, plain = recorded("a100x2-535-mig")
    assert (mig["mig"], plain["mig"]) == (True, False)
    assert mig["memory"] == 81920  # the GPU's, not that of its slice
    assert mig["fabric"]["state"] is None
    (blackwell,) = recorded("b200-570")
    assert blackwell["flags"]["recovery"] == "Drain and Reset"
    assert blackwell["flags"]["channel repair pending"] == "Yes"
    assert blackwell["fabric"]["health"] == "Unhealthy"


def test_parse_of_cut_output_has_the_gpus_before_the_cut() -> None:
    text = shapes.text("nvidia-smi/h100x8-550.xml")
    assert len(gpu.parse(text[: text.index("<minor_number>5<")])) == 5


def test_gpu_that_needs_a_reset_is_sick() -> None:
    text = shapes.text("nvidia-smi/v100-418.xml")
    (sick,) = gpu.parse(text.replace("<total>32480 MiB", "<total>[GPU requires reset]"))
    assert (sick["sick"], sick["memory"]) == ("[GPU requires reset]", None)


@given(st.text(max_size=300))
def test_parse_of_garbage_has_no_gpu(text: str) -> None:
    assert gpu.parse(text) == gpu.parse(f"<nvidia_smi_log>{escape(text)}") == []


@given(st.text(max_size=60), st.sampled_from(["minor_number", "fb_memory_usage", "processes"]))
def test_parse_of_garbage_in_a_gpu_keeps_its_bus(text: str, tag: str) -> None:
    found = gpu.parse(f'<nvidia_smi_log><gpu id="x"><{tag}>{escape(text)}</{tag}></gpu>')
    assert all(entry["bus"] == "x" for entry in found)


@given(st.data())
def test_parse_of_damaged_output_raises_nothing(data: st.DataObject) -> None:
    text = shapes.text("nvidia-smi/b200-570.xml")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 200)))
    gpu.parse(text[:start] + data.draw(st.text(max_size=20)) + text[end:])


def test_parse_expands_no_entities() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    assert gpu.parse(f"{bomb}<nvidia_smi_log><gpu id='&b;'></gpu></nvidia_smi_log>") == []


def test_gpu_reads_bus_and_driver_from_sys(tmp_path: Path, path: Path) -> None:
    stub(path, "nvidia-smi", f"cat {Path(__file__).parent}/../recorded/nvidia-smi/h100x8-550.xml")
    found = gpu.gpu(shapes.tree(tmp_path / "root", "h100x2"))
    assert found["devices"] == [0, 1]
    assert found["pci"] == [
        {"address": "0000:1b:00.0", "driver": "nvidia"},
        {"address": "0000:43:00.0", "driver": "nvidia"},
    ]
    assert (found["switches"], found["version"], found["open"]) == (1, "550.90.07", True)
    assert found["smi"]["error"] is None
    assert len(found["smi"]["gpus"]) == 8


def test_gpu_without_devices_does_not_run_nvidia_smi(tmp_path: Path, path: Path) -> None:
    stub(path, "nvidia-smi", f"touch {tmp_path}/was-run")
    assert gpu.gpu(str(tmp_path / "root"))["smi"] is None
    assert not (tmp_path / "was-run").exists()


def test_amd_gpus_are_counted(tmp_path: Path) -> None:
    found = gpu.gpu(shapes.tree(tmp_path, "mi250x2"))
    assert (found["amd"], found["devices"], found["smi"]) == (2, [], None)


UNLOADED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the "
    "latest NVIDIA driver is installed and running."
)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"


@pytest.mark.parametrize(
    ("output", "code", "error"),
    [
        (UNLOADED, 9, UNLOADED),
        (f"{MISMATCH}\nNVML library version: 535.183", 18, MISMATCH),
        ("No devices were found", 6, "No devices were found"),
        ("", 1, "exit code 1"),
    ],
)
def test_inventory_has_the_error_of_nvidia_smi(
    path: Path, output: str, code: int, error: str
) -> None:
    stub(path, "nvidia-smi", f'echo "{output}"; exit {code}')
    assert gpu.inventory() == {"error": error, "hung": False, "gpus": []}


def test_inventory_with_lost_gpu_lists_the_others(path: Path) -> None:
    lost = (
        "Unable to determine the device handle for GPU0000:DF:00.0: GPU is lost. Reboot the system"
    )
    xml = Path(__file__).parent / "../recorded/nvidia-smi/v100-418.xml"
    stub(path, "nvidia-smi", f"echo '{lost}'; cat {xml}; exit 15")
    found = gpu.inventory()
    assert (found["error"], len(found["gpus"])) == (lost, 1)


def test_inventory_of_hanging_nvidia_smi_is_hung(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_SMI_TIMEOUT", 0.2)
    stub(path, "nvidia-smi", "exec sleep 60")
    assert gpu.inventory() == {"error": "no answer within 0.2 s", "hung": True, "gpus": []}


def test_run_cuts_long_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_MAX_OUTPUT", 1000)
    done = command.run(["/bin/sh", "-c", "head -c 300000 /dev/zero; echo why >&2; exit 3"], 10)
    assert (done.code, len(done.out), done.why) == (3, 1000, "why")


def test_nvlinks_are_counted_by_gpu() -> None:
    gpus = fabric.parse_status(shapes.text("nvidia-smi/nvlink-status-h100x8.txt"))
    assert [(g["gpu"], g["active"], g["inactive"]) for g in gpus] == [(i, 18, []) for i in range(8)]
    gpus = fabric.parse_status(shapes.text("nvidia-smi/nvlink-status-v100x4.txt"))
    assert (gpus[3]["active"], gpus[3]["inactive"]) == (4, [3, 5])
    gpus = fabric.parse_status(shapes.text("nvidia-smi/nvlink-status-a6000.txt"))
    assert [(g["active"], g["inactive"]) for g in gpus] == [(0, [-1]), (4, [])]


def test_gpu_without_nvlink_is_left_out() -> None:
    assert fabric.parse_status("GPU 0: Tesla T4 (UUID: GPU-aaaa)\n") == []


def test_nvlink_errors_are_summed_by_kind() -> None:
    text = shapes.text("nvidia-smi/nvlink-errors-a100.txt")
    assert fabric.parse_errors(text) == {0: {}, 1: {"Replay Errors": 2, "CRC Errors": 42}}
    text = shapes.text("nvidia-smi/nvlink-errors-gb200.txt")
    assert fabric.parse_errors(text) == {
        0: {"Effective Errors": 3}
    }  # those corrected by FEC do not count


@given(st.text(alphabet="GPU Link 0123456789:<>inactveGB/s.()\n", max_size=300))
def test_parse_of_garbage_has_no_nvlink(text: str) -> None:
    for links in fabric.parse_status(text):
        assert links["active"] + len(links["inactive"]) > 0
    assert all(n > 0 for kinds in fabric.parse_errors(text).values() for n in kinds.values())


def test_fabric_has_manager_and_its_package(path: Path, tmp_path: Path) -> None:
    stub(path, "nv-fabricmanager", "echo 'Fabric Manager version is : 535.104.05'")
    stub(path, "dpkg-query", 'echo "nvidia-fabricmanager-535: $2"')
    stub(path, "systemctl", "echo failed; exit 3")
    (tmp_path / "run/systemd/system/x").mkdir(parents=True)
    assert fabric.fabric(str(tmp_path)) == {
        "manager": str(path / "nv-fabricmanager"),
        "version": "535.104.05",
        "active": "failed",
        "package": "nvidia-fabricmanager-535",
    }


def test_fabric_without_manager_is_all_null(tmp_path: Path) -> None:
    assert fabric.fabric(str(tmp_path)) == {
        "manager": None,
        "version": None,
        "active": None,
        "package": None,
    }


def test_agent_runs_all_gpu_probes(tmp_path: Path, path: Path) -> None:
    here = Path(__file__).parent / "../recorded/nvidia-smi"
    stub(
        path,
        "nvidia-smi",
        f'case "$*" in "-q -x") cat {here}/h100x8-550.xml;; "nvlink --status") '
        f"cat {here}/nvlink-status-v100x4.txt;; *) cat {here}/nvlink-errors-a100.txt;; esac",
    )
    root = shapes.tree(tmp_path / "root", "h100x2")
    agent = AgentProcess(tmp_path)
    try:
        probes = {"gpu": {"root": root}, "fabric.nvlink": {}, "fabric": {"root": root}}
        found = agent.ask("check", limit=20, probes=probes)["ok"]
    finally:
        agent.close()
    assert len(found["gpu"]["ok"]["smi"]["gpus"]) == 8
    links = found["fabric.nvlink"]["ok"]["gpus"]
    assert [entry["errors"] for entry in links] == [
        {}, {"Replay Errors": 2, "CRC Errors": 42}, {}, {},
    ]  # fmt: skip
    assert found["fabric"]["ok"]["manager"] is None
