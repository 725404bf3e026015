"""The table of nodes: aligned, as wide as the terminal, without control characters."""

from __future__ import annotations

import dataclasses
import ipaddress

from orchestrator.api.nodes import Fault, NodeReport, faults, faults_of
from orchestrator.errors import Unreachable
from orchestrator.inventory import Host
from orchestrator.node.probes import gpu
from orchestrator.plan import Facts, Interface
from orchestrator.preflight.gpus.devices import GPU, Gpus
from orchestrator.preflight.model import NoAnswer
from orchestrator.preflight.software.interpreter import Interpreter, Software, Torch
from orchestrator.ui.nodes import describe, lines

from ..recorded import shapes

FACTS = Facts(
    hostname="n0",
    identity="x",
    uid=0,
    home="/home/ubuntu",
    python_version="3.11.7",
    cpus=64,
    gpus=8,
    rsync="/usr/bin/rsync",
    interfaces=(Interface("eth0", (ipaddress.ip_interface("198.18.0.10/24"),), None, False),),
    ssh_address=None,
    clock_skew=0.01,
    environment={},
)


def gpus(recorded: str) -> Gpus:
    smi = {
        "error": None,
        "hung": False,
        "gpus": gpu.parse(shapes.text(f"nvidia-smi/{recorded}.xml")),
    }
    nothing = {"devices": [], "pci": [], "switches": 0, "version": None, "open": False}
    return GPU.parse({**nothing, "visible": None, "amd": 0, "smi": smi})


def software(torch: str | None = "2.9.1+cu128", python: str = "3.11.7") -> Software:
    has = None if torch is None else Torch(torch, "CUDA 12.8")
    return Software("6.8", None, Interpreter("/opt/venv/bin/python", python, has, {}, True, ()))


GOOD = NodeReport(
    Host(name="n0"),
    FACTS,
    None,
    "eth0",
    "198.18.0.10",
    "198.18.0.0/24",
    gpus("h100x8-550"),
    software(),
)
DEAD = NodeReport(
    Host(name="node-with-a-long-name", port=2222),
    None,
    Unreachable("node-with-a-long-name", "timed-out", "said nothing", "look"),
)


def with_facts(**changes: object) -> NodeReport:
    return dataclasses.replace(GOOD, facts=dataclasses.replace(FACTS, **changes))  # type: ignore[arg-type]


REST = "eth0 198.18.0.10  yes    ok     /home/ubuntu"


def test_pipe_gets_all_columns_aligned() -> None:
    assert lines([GOOD]) == [
        f"{'NODE  ADDRESS  PYTHON  TORCH        CPUS  GPUS':<69}NETWORK           RSYNC  CLOCK  HOME",
        f"n0    n0       3.11.7  2.9.1+cu128  64    8 × H100 80GB HBM3 80 GiB  {REST}",
    ]
    heading, _, row = lines([GOOD, DEAD])
    assert heading.index("PYTHON") == row.index("✗ timed-out")


def test_narrow_terminal_hides_columns_and_names_them() -> None:
    heading, first, second, note = lines([GOOD, DEAD], width=80)
    assert max(map(len, (heading, first, second))) <= 80
    assert heading.split() == ["NODE", "PYTHON", "TORCH", "GPUS"]
    assert note.startswith("(home, address, clock, rsync, cpus, network: ")
    assert len(lines([GOOD, DEAD], width=160)) == 3


def test_columns_with_problems_are_coloured_and_never_hidden() -> None:
    shown = lines([with_facts(clock_skew=-3.24, rsync=None)], width=60, colour=True)
    assert "\x1b[33m-3.2 s\x1b[0m" in shown[1]
    assert "\x1b[31mno\x1b[0m" in shown[1]
    assert "HOME" not in shown[0]


def test_small_clock_skew_is_ok() -> None:
    assert " ok " in lines([with_facts(clock_skew=0.5)])[1]


def test_remote_text_has_no_control_characters() -> None:
    line = lines([with_facts(home="/\x1b]0;evil\x07", python_version="3\n4\u202e")])[1]
    assert line.isprintable()
    assert "/�]0;evil�" in line


def test_spare_is_marked() -> None:
    spare = dataclasses.replace(GOOD, host=Host(name="n1", spare=True))
    assert lines([GOOD, spare])[2].startswith("n1 (spare)  n1")
    assert [describe(report)["spare"] for report in (GOOD, spare)] == [False, True]


def test_json_always_has_the_same_keys() -> None:
    good, dead = describe(GOOD), describe(DEAD)
    assert list(good) == list(dead)
    assert (good["reachable"], good["gpus"], good["interface"]) == (True, 8, "eth0")
    assert (good["subnet"], good["problem"]) == ("198.18.0.0/24", None)
    assert (dead["reachable"], dead["gpus"], dead["rsync"]) == (False, None, None)
    assert dead["problem"] == {"cause": "timed-out", "message": "said nothing", "remedy": "look"}


def named(name: str, **changes: object) -> NodeReport:
    return dataclasses.replace(GOOD, host=Host(name=name), **changes)  # type: ignore[arg-type]


def test_gpus_have_model_and_memory() -> None:
    assert describe(GOOD)["gpu_models"] == ["NVIDIA H100 80GB HBM3"] * 8
    assert describe(GOOD)["gpu_memory"] == [81559 << 20] * 8
    assert (describe(GOOD)["torch"], describe(GOOD)["torch_platform"]) == (
        "2.9.1+cu128",
        "CUDA 12.8",
    )
    older = lines([dataclasses.replace(GOOD, gpus=gpus("v100-418"))])[1]
    assert "V100" in older
    assert "GiB" in older
    silent = lines([dataclasses.replace(GOOD, gpus=NoAnswer("it hangs"))])[1]
    assert "  8     eth0" in silent


def test_healthy_nodes_have_no_faults() -> None:
    reports = [GOOD, named("n1"), DEAD]
    assert [faults_of(report, reports) for report in reports] == [(), (), ()]


def test_same_fault_of_many_nodes_is_one_row_with_one_remedy() -> None:
    without = dataclasses.replace(FACTS, rsync=None)
    reports = [GOOD, named("n1", facts=without), named("n2", facts=without)]
    found = [dataclasses.replace(r, faults=faults_of(r, reports)) for r in reports]
    (fault,) = faults(found)
    assert fault.splitlines() == [
        "n[1-2]: rsync is not installed",
        "  → install rsync there, or copy the files yourself and use --no-sync",
    ]


def test_missing_torch_is_a_fault_unless_the_launcher_needs_none() -> None:
    bare = named("n1", software=software(None))
    (fault,) = faults_of(bare, [GOOD, bare])
    assert fault.message == "torch is not installed for /opt/venv/bin/python"
    assert fault.remedy.startswith("set `python:` in the inventory")
    plain = dataclasses.replace(bare, host=Host(name="n1", launcher="python"))
    assert faults_of(plain, [GOOD, plain]) == ()


def test_launcher_that_is_not_there_is_a_fault() -> None:
    other = dataclasses.replace(named("n1"), host=Host(name="n1", launcher="torchrum"))
    (fault,) = faults_of(other, [GOOD, other])
    assert (fault.kind, fault.message) == ("launcher", "unknown launcher 'torchrum'")
    assert fault.remedy.startswith("did you mean torchrun?")


def test_torch_or_python_that_differs_from_the_others_is_a_fault() -> None:
    odd = named("n2", software=software("2.8.0", "3.10.4"))
    reports = [GOOD, named("n1"), odd]
    assert [fault.message for fault in faults_of(odd, reports)] == [
        "torch 2.8.0 (CUDA 12.8), but others have torch 2.9.1+cu128 (CUDA 12.8)",
        "Python 3.10, but others have Python 3.11",
    ]
    assert faults_of(GOOD, reports) == ()


def test_python_that_cannot_be_inspected_is_a_fault() -> None:
    silent = named("n1", software=NoAnswer("no answer within 20 s"))
    (fault,) = faults_of(silent, [GOOD, silent])
    assert "no answer within 20 s" in fault.message
    broken = named("n1", software=Software("6.8", None, None, "No module named 'encodings'"))
    (fault,) = faults_of(broken, [GOOD, broken])
    assert fault.remedy == "check PYTHONHOME and PYTHONPATH there"
    assert " ?  " in lines([dataclasses.replace(broken, faults=(Fault("x", "y", "python"),))])[1]
