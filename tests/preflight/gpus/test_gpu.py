"""Verdicts on GPUs, from recorded output of nvidia-smi and the kernel log to finding and remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node.probes import fabric, gpu, kernel_log
from orchestrator.plan import Job
from orchestrator.preflight.gpus.devices import GPU, same_bus
from orchestrator.preflight.gpus.gpu import CHECKS
from orchestrator.preflight.gpus.health import XID
from orchestrator.preflight.gpus.nvlink import FABRIC, NVLINK
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, NoAnswer, Status

from ...recorded import shapes
from ..contexts import answered, brief, make_context

Raw = dict[str, Any]
NOTHING: Raw = {
    "devices": [], "pci": [], "switches": 0, "version": None, "open": False, "visible": None,
    "amd": 0, "smi": None,
}  # fmt: skip


def found(name: str, **more: Any) -> Raw:
    """Return the answer of a node with this output of nvidia-smi."""
    gpus = gpu.parse(shapes.text(f"nvidia-smi/{name}.xml"))
    return {
        **NOTHING,
        "devices": list(range(len(gpus))),
        "pci": [{"address": entry["bus"], "driver": "nvidia"} for entry in gpus],
        "version": "550.90.07",
        "smi": {"error": None, "hung": False, "gpus": gpus},
        **more,
    }


def silent(error: str, hung: bool = False, **more: Any) -> Raw:
    """Return the answer of a node where nvidia-smi fails."""
    missing = error == "there is no nvidia-smi"
    smi = {"error": error, "hung": hung, "gpus": [], "missing": missing}
    pci = [{"address": "0000:65:00.0", "driver": "nvidia"}]
    return {**NOTHING, "devices": [0], "pci": pci, "smi": smi, **more}


def showing(raw: Raw, gpus: list[Raw]) -> Raw:
    """Return the answer of a node where nvidia-smi shows these GPUs instead."""
    return {**raw, "smi": {**raw["smi"], "gpus": gpus}}


HEALTHY = found("h100x8-550")
SICK = found("h100x8-550-sick")
NO_LOG: Raw = {"source": "kmsg", "why": None, "whole": True, "events": []}


def nodes(*raw: Raw, ranks: Sequence[int] | None = None, **more: Any) -> Context:
    """Return a context with these answers; each node has a rank for each of its device files."""
    counts = ranks or [len(entry["devices"]) or entry["amd"] for entry in raw]
    answers: dict[str, list[Any]] = {**answered(GPU, *raw), **more.pop("answers", {})}
    facts_of = {i: {"gpus": count} for i, count in enumerate(counts)}
    return make_context(len(raw), facts_of=facts_of, answers=answers, **more)


def verdict(check: str, where: Context) -> list[Finding]:
    (one,) = [entry for entry in CHECKS if entry.id == check]
    return judge_check(one, where)


def commands(finding: Finding) -> tuple[str, ...]:
    assert finding.remedy is not None
    return finding.remedy.commands


# The count


def test_equal_machines_pass_as_one_finding() -> None:
    (finding,) = verdict("gpu", nodes(HEALTHY, HEALTHY))
    assert finding.message == "8 GPUs, NVIDIA H100 80GB HBM3, for 8 ranks"
    assert (finding.status, finding.nodes) == (Status.PASS, ("node0", "node1"))


@pytest.mark.parametrize("check", [check.id for check in CHECKS])
def test_nodes_without_gpus_are_skipped_as_one_finding(check: str) -> None:
    answers = {
        **answered(XID, NO_LOG, NO_LOG),
        **answered(NVLINK, *[{"error": None, "gpus": []}] * 2),
        **answered(FABRIC, *[fabric.fabric("/nowhere")] * 2),
    }
    (finding,) = verdict(check, nodes(NOTHING, NOTHING, answers=answers))
    assert (finding.status, finding.nodes) == (Status.SKIP, ("node0", "node1"))


@pytest.mark.parametrize("check", [check.id for check in CHECKS])
def test_node_without_answer_is_incomplete(check: str) -> None:
    silence: dict[str, list[Any]] = {
        probe.name: [NoAnswer("no answer within 20 s")] for probe in (GPU, XID, NVLINK, FABRIC)
    }
    (finding,) = verdict(check, make_context(1, answers=silence))
    assert finding.status is Status.INCOMPLETE
    assert "no answer within 20 s" in finding.message


def test_more_ranks_than_gpus_fail() -> None:
    here = nodes(HEALTHY, found("v100-418"), job=Job("t.py", launcher="torchrun", devices=8))
    worst, other = verdict("gpu", here)
    assert (worst.status, worst.nodes) == (Status.FAIL, ("node1",))
    assert (
        worst.message
        == "8 ranks, but 1 GPU: NCCL refuses two ranks on one (Duplicate GPU detected)"
    )
    assert other.status is Status.PASS


def test_hidden_gpus_do_not_count() -> None:
    job = Job("t.py", launcher="torchrun", devices=2, environment={"CUDA_VISIBLE_DEVICES": "3"})
    (finding,) = verdict("gpu", nodes(HEALTHY, job=job))
    assert finding.message.startswith("2 ranks, but 1 GPU:")
    # A login's own setting holds where the job has none; CUDA stops at an unknown name.
    uuid = "GPU-1f0a3c5e-0000-4000-8000-000000000006"
    hidden = {**HEALTHY, "visible": f"{uuid}, 1,nonsense,2"}
    (finding,) = verdict("gpu", nodes(hidden, ranks=[2]))
    assert finding.message == "2 GPUs, NVIDIA H100 80GB HBM3, for 2 ranks"


def test_job_that_hides_all_gpus_is_skipped() -> None:
    job = Job("t.py", launcher="torchrun", environment={"CUDA_VISIBLE_DEVICES": ""})
    assert brief(verdict("gpu", nodes(HEALTHY, job=job))) == [("skip", "node0")]


def test_node_with_other_gpus_than_most_warns() -> None:
    worst, _ = verdict("gpu", nodes(HEALTHY, HEALTHY, found("v100-418")))
    assert (worst.status, worst.nodes) == (Status.WARN, ("node2",))
    assert worst.message == (
        "1 GPU, Tesla V100-SXM2-32GB; most nodes: 8 GPUs, NVIDIA H100 80GB HBM3. "
        "The slowest sets the pace"
    )


def test_gpu_off_the_bus_fails() -> None:
    lost = showing(HEALTHY, HEALTHY["smi"]["gpus"][:7])
    lost["smi"]["error"] = "Unable to determine the device handle for GPU0000:DF:00.0: GPU is lost"
    (finding,) = verdict("gpu", nodes(lost))
    assert finding.status is Status.FAIL
    assert finding.message.startswith("/dev/nvidia7: nvidia-smi does not show this GPU (Unable to")


def test_gpu_that_nvidia_smi_reports_as_lost_fails() -> None:
    gpus = [dict(entry) for entry in HEALTHY["smi"]["gpus"]]
    gpus[4]["sick"] = "[GPU requires reset]"
    (finding,) = verdict("gpu", nodes(showing(HEALTHY, gpus)))
    assert (finding.status, finding.message) == (
        Status.FAIL,
        "GPU 4: nvidia-smi says '[GPU requires reset]'",
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("It couldn't communicate with the NVIDIA driver.", ["modprobe nvidia"]),
        ("Failed to initialize NVML: Driver/library version mismatch", []),
        ("No devices were found", []),
    ],
)  # fmt: skip
def test_driver_that_does_not_work_fails(error: str, line: list[str]) -> None:
    (finding,) = verdict("gpu", nodes(silent(error)))
    assert finding.status is Status.FAIL
    assert finding.message == f"nvidia-smi shows no GPU: {error}"
    assert list(commands(finding)) == line


def test_hanging_nvidia_smi_fails() -> None:
    hung = silent("no answer within 15 s", hung=True)
    (finding,) = verdict("gpu", nodes(hung))
    assert finding.status is Status.FAIL
    assert finding.message == "nvidia-smi hangs (no answer within 15 s): CUDA will hang too"
    (finding,) = verdict("gpu.ecc", nodes(hung))
    assert finding.status is Status.INCOMPLETE


def test_gpus_without_nvidia_smi_are_only_counted() -> None:
    (finding,) = verdict("gpu", nodes(silent("there is no nvidia-smi")))
    assert finding.status is Status.INCOMPLETE
    assert finding.message == "1 GPU, but no nvidia-smi to check them with"


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        (None, "no driver is loaded"),
        ("nouveau", "nouveau has them, not NVIDIA's driver"),
        ("vfio-pci", "vfio-pci has them, not NVIDIA's driver"),
        ("nvidia", "this container was started without them"),
    ],
)
def test_gpu_without_nvidia_driver_warns_or_fails_if_other_nodes_have_gpus(
    driver: str | None, why: str
) -> None:
    bare = {**silent("there is no nvidia-smi"), "devices": []}
    bare["pci"] = [{"address": "0000:65:00.0", "driver": driver}]
    (finding,) = verdict("gpu", nodes(bare))  # all ranks are on CPUs, for example of a laptop
    assert finding.status is Status.WARN
    assert finding.message == f"1 NVIDIA GPU on the PCI bus, but no /dev/nvidia0: {why}"
    worst, _ = verdict("gpu", nodes(HEALTHY, bare))
    assert (worst.status, worst.nodes) == (Status.FAIL, ("node1",))


def test_node_without_gpu_among_nodes_with_some_fails() -> None:
    worst, _ = verdict("gpu", nodes(HEALTHY, HEALTHY, NOTHING))
    assert (worst.status, worst.nodes) == (Status.FAIL, ("node2",))
    assert worst.message.startswith("no GPU for its 1 rank, but other nodes have some")


def test_mig_mode_warns() -> None:
    (finding,) = verdict("gpu", nodes(found("a100x2-535-mig")))
    assert finding.status is Status.WARN
    assert finding.message.startswith("MIG mode is on for GPU 0:")
    assert commands(finding) == ("nvidia-smi -i 00000000:01:00.0 -mig 0",)


def test_amd_gpus_are_only_counted() -> None:
    amd = {**NOTHING, "amd": 8}
    (finding,) = verdict("gpu", nodes(amd, amd))
    assert finding.message == "8 GPUs, AMD, for 8 ranks"
    (finding,) = verdict("gpu.ecc", nodes(amd, amd))
    assert (finding.status, finding.message) == (
        Status.SKIP,
        "only NVIDIA GPUs are checked",
    )


def test_nodes_that_are_one_machine_pass() -> None:
    half = [{**HEALTHY, "visible": "0,1,2,3"}, {**HEALTHY, "visible": "4,5,6,7"}]
    (finding,) = verdict("gpu", nodes(*half, ranks=[4, 4]))
    assert finding.message == "4 GPUs, NVIDIA H100 80GB HBM3, for 4 ranks"


# Processes on them


def test_processes_on_the_gpus_are_reported() -> None:
    (finding,) = verdict("gpu.busy", nodes(SICK))
    assert finding.status is Status.WARN
    assert finding.message == "the GPUs are in use: GPU 1: 912345 (python, 61234 MiB)"
    assert commands(finding) == ("kill 912345",)
    assert finding.data["node0"]["2"]["used"] == 9000  # memory of processes that are not shown


def test_memory_of_invisible_processes_is_reported() -> None:
    job = Job("t.py", launcher="torchrun", environment={"CUDA_VISIBLE_DEVICES": "2"})
    (finding,) = verdict("gpu.busy", nodes(SICK, job=job))
    assert finding.status is Status.WARN
    assert finding.message == "GPU 2: memory is in use by processes that cannot be seen from here"


def test_gpus_that_the_job_does_not_use_may_be_busy() -> None:
    (finding,) = verdict("gpu.busy", nodes(SICK, job=Job("t.py", launcher="torchrun", devices=1)))
    assert finding.status is Status.PASS


def test_kill_command_names_only_valid_process_ids() -> None:
    gpus = [dict(entry) for entry in HEALTHY["smi"]["gpus"]]
    process = {"name": "x; reboot", "used": 5, "owner": None}
    gpus[0]["processes"] = [{**process, "pid": pid} for pid in (-1, 0, 1, 77)]
    (finding,) = verdict("gpu.busy", nodes(showing(HEALTHY, gpus)))
    assert commands(finding) == ("kill 77",)


def test_run_of_orch_on_the_gpus_is_ended_by_its_name() -> None:
    gpus = [dict(entry) for entry in HEALTHY["smi"]["gpus"]]
    process = {"name": "python", "used": 5, "owner": "me", "pid": 77, "run": "train-lusab"}
    gpus[0]["processes"] = [process]
    (finding,) = verdict("gpu.busy", nodes(showing(HEALTHY, gpus)))
    assert commands(finding) == ()
    assert finding.remedy is not None
    assert finding.remedy.text.startswith("`orch stop train-lusab` where it was launched")
    gpus[0]["processes"] = [process, {**process, "pid": 78, "run": None}]
    (finding,) = verdict("gpu.busy", nodes(showing(HEALTHY, gpus)))
    assert commands(finding) == ("kill 78",)


def test_invalid_pci_address_is_refused() -> None:
    gpus = [{**HEALTHY["smi"]["gpus"][0], "bus": "0; reboot"}]
    with pytest.raises(ValueError, match="not a PCI address"):
        GPU.parse(showing(HEALTHY, gpus))


# Memory


def test_uncorrectable_errors_ask_for_a_reset() -> None:
    (finding,) = verdict("gpu.ecc", nodes(SICK))
    assert finding.status is Status.FAIL
    assert finding.message == "GPU 5: uncorrectable ECC errors since the last reset"
    assert commands(finding) == ("nvidia-smi --gpu-reset -i 00000000:C3:00.0",)
    assert finding.data["node0"]["5"] == {"volatile": 4, "aggregate": 3}
    (finding,) = verdict("gpu.ecc", nodes(found("v100-418")))
    assert finding.status is Status.FAIL


def test_faulty_gpu_that_no_rank_uses_warns() -> None:
    four = Job("t.py", launcher="torchrun", devices=4)
    (finding,) = verdict("gpu.ecc", nodes(SICK, job=four))
    assert finding.status is Status.WARN
    assert finding.message.endswith(" (no rank uses it)")


def test_errors_of_the_past_are_only_mentioned() -> None:
    gpus = [{**entry, "volatile": 0} for entry in SICK["smi"]["gpus"]]
    (finding,) = verdict("gpu.ecc", nodes(showing(SICK, gpus)))
    assert finding.status is Status.PASS
    assert finding.message.endswith("; GPUs 0, 5 had some before")


def test_too_many_sram_errors_ask_for_another_gpu() -> None:
    entry = HEALTHY["smi"]["gpus"][0]
    worn = {**entry, "flags": {**entry["flags"], "sram threshold": "Yes"}}
    (finding,) = verdict("gpu.ecc", nodes(showing({**HEALTHY, "devices": [0]}, [worn])))
    assert (finding.status, commands(finding)) == (Status.FAIL, ())


def test_remap_that_failed_is_worse_than_one_that_waits() -> None:
    (finding,) = verdict("gpu.remap", nodes(SICK))
    assert finding.message == "GPU 6: faulty memory could not be remapped"
    six = Job("t.py", launcher="torchrun", environment={"CUDA_VISIBLE_DEVICES": "0,5"})
    gpus = SICK["smi"]["gpus"][:6]
    waits = showing({**SICK, "devices": list(range(6))}, gpus)
    (finding,) = verdict("gpu.remap", nodes(waits, job=six))
    assert (finding.status, finding.message) == (
        Status.FAIL,
        "GPU 5: remap pending; a reset is due",
    )
    assert commands(finding) == ("nvidia-smi --gpu-reset -i 00000000:C3:00.0",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v100-418", "GPU 0: retirement pending; a reset is due"),
        (
            "b200-570",
            "GPU 0: channel repair pending, recovery action 'Drain and Reset'; a reset is due",
        ),
    ],
)
def test_pending_reset_is_found_for_every_gpu_generation(name: str, message: str) -> None:
    (finding,) = verdict("gpu.remap", nodes(found(name)))
    assert (finding.status, finding.message) == (Status.FAIL, message)


def test_driver_that_asks_for_a_reboot_fails() -> None:
    entry = found("b200-570")["smi"]["gpus"][0]
    asks = {**entry, "flags": {**entry["flags"], "recovery": "Node Reboot Required"}}
    raw = found("b200-570", smi={"error": None, "hung": False, "gpus": [asks]})
    (finding,) = verdict("gpu.remap", nodes(raw))
    assert finding.message == "GPU 0: the driver asks for a reboot of the node"


def test_healthy_memory_passes() -> None:
    assert brief(verdict("gpu.remap", nodes(HEALTHY))) == [("pass", "node0")]
    assert brief(verdict("gpu.ecc", nodes(HEALTHY))) == [("pass", "node0")]


# The kernel log


def log(*lines: str, now: float = 4000.0) -> Raw:
    text = "\n".join(f"[ {seconds}.000000] NVRM: {line}" for seconds, line in map(_split, lines))
    return {**NO_LOG, "events": kernel_log.events(kernel_log.parse_text(text), now)}


def _split(line: str) -> tuple[str, str]:
    seconds, _, text = line.partition(" ")
    return seconds, text


def xid(*lines: str, now: float = 4000.0, raw: Mapping[str, Any] = HEALTHY) -> Finding:
    answers = answered(XID, log(*lines, now=now))
    (finding,) = verdict("gpu.xid", nodes(dict(raw), answers=answers))
    return finding


def test_clean_log_passes_with_its_extent() -> None:
    assert (xid().status, xid().message) == (Status.PASS, "no Xid since boot")
    answers = answered(XID, {**NO_LOG, "whole": False})
    (finding,) = verdict("gpu.xid", nodes(HEALTHY, answers=answers))
    assert finding.message == "no Xid in what is left of the kernel log"


def test_unreadable_log_is_skipped() -> None:
    closed: Raw = {
        "source": None,
        "why": "/dev/kmsg: Operation not permitted",
        "whole": False,
        "events": [],
    }
    (finding,) = verdict("gpu.xid", nodes(HEALTHY, answers=answered(XID, closed)))
    assert finding.status is Status.SKIP
    assert finding.data["node0"]["why"] == "/dev/kmsg: Operation not permitted"


def test_gpu_off_the_bus_asks_for_a_reboot_at_any_age() -> None:
    finding = xid("9 Xid (PCI:0000:c3:00): 79, GPU has fallen off the bus.", now=9e6)
    assert finding.status is Status.FAIL
    assert finding.message == "Xid 79 on GPU 5: GPU has fallen off the bus"
    assert finding.remedy is not None
    assert finding.remedy.text.startswith("reboot the node")


def test_error_that_asks_for_a_reset_fails_within_a_day_and_then_warns() -> None:
    line = "9 Xid (PCI:0000:43:00): 119, pid=7, name=python, Timeout after 45s of waiting for RPC"
    fresh, old = xid(line), xid(line, now=2e6)
    assert fresh.status is Status.FAIL
    assert commands(fresh) == ("nvidia-smi --gpu-reset -i 00000000:43:00.0",)
    assert (old.status, old.message) == (Status.WARN, f"{fresh.message}, more than a day ago")


def test_row_to_be_remapped_warns() -> None:
    finding = xid("9 Xid (PCI:0000:1b:00): 63, Row Remapper: New row marked for remapping")
    assert finding.status is Status.WARN


def test_errors_of_applications_pass() -> None:
    finding = xid(
        "9 Xid (PCI:0000:1b:00): 13, Graphics SM Warp Exception",
        "9 Xid (PCI:0000:1b:00): 31, MMU Fault",
    )
    assert (finding.status, finding.message) == (
        Status.PASS,
        "only Xids of applications since boot (13, 31)",
    )


def test_unknown_code_warns() -> None:
    finding = xid("9 Xid (PCI:0000:1b:00): 4711, something new")
    assert finding.status is Status.WARN
    assert finding.message == "Xid 4711 on GPU 0: not in this table"


def test_worst_event_of_a_log_counts() -> None:
    lines = kernel_log.parse_text(shapes.text("kernel-log/dmesg-xids.txt"))
    answers = answered(XID, {**NO_LOG, "events": kernel_log.events(lines, 4000.0)})
    (finding,) = verdict("gpu.xid", nodes(HEALTHY, answers=answers))
    assert finding.status is Status.FAIL
    assert "Xid 79 on 0000:65:00: GPU has fallen off the bus" in finding.message


def test_fatal_error_of_an_nvswitch_resets_all() -> None:
    line = "[ 9.000000] nvidia-nvswitch0: SXid (PCI:0000:c3:00.0): 24007, Fatal, Link 28 timeout"
    answers = answered(
        XID, {**NO_LOG, "events": kernel_log.events(kernel_log.parse_text(line), 10.0)}
    )
    (finding,) = verdict("gpu.xid", nodes(HEALTHY, answers=answers))
    assert commands(finding) == (
        "systemctl restart nvidia-fabricmanager",
        "nvidia-smi --gpu-reset",
    )


def test_xid_without_any_gpu_left_fails() -> None:
    finding = xid("9 Xid (PCI:0000:65:00): 79, GPU has fallen off the bus.", raw=NOTHING)
    assert finding.status is Status.FAIL


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("00000000:65:00.0", "0000:65:00", True),
        ("00000018:01:00.0", "0018:01:00", True),
        ("00000000:9D:00.0", "0000:9d:00", True),
        ("00000000:65:00.0", "0001:65:00", False),
        ("00000000:65:00.0", "0000:66:00", False),
    ],
)
def test_one_device_has_addresses_of_several_forms(one: str, other: str, same: bool) -> None:
    assert same_bus(one, other) is same


# NVLink


def links(name: str, errors: str | None = None) -> Raw:
    gpus = fabric.parse_status(shapes.text(f"nvidia-smi/nvlink-status-{name}.txt"))
    said = shapes.text(f"nvidia-smi/nvlink-errors-{errors}.txt") if errors else ""
    counters = fabric.parse_errors(said)
    return {
        "error": None,
        "gpus": [{**entry, "errors": counters.get(entry["gpu"], {})} for entry in gpus],
    }


def nvlink(*raw: Raw) -> list[Finding]:
    return verdict("gpu.nvlink", nodes(*[HEALTHY] * len(raw), answers=answered(NVLINK, *raw)))


def test_equal_active_links_pass() -> None:
    (finding,) = nvlink(links("h100x8"), links("h100x8"))
    assert (finding.status, finding.message) == (Status.PASS, "18 NVLinks per GPU are active")


def test_fewer_links_than_the_others_warn() -> None:
    (finding,) = nvlink(links("v100x4"))
    assert finding.status is Status.WARN
    assert finding.message == "GPU 3: 4 NVLinks are active; others have 6"
    assert finding.data["node0"]["3"]["inactive"] == [3, 5]


def test_gpu_without_active_link_fails_if_others_have_some() -> None:
    raw = links("a6000")
    raw["gpus"].append({**raw["gpus"][1], "gpu": 2})
    (finding,) = nvlink(raw)
    assert (finding.status, finding.message) == (
        Status.FAIL,
        "GPU 0: no NVLink is active; others have 4",
    )


def test_links_with_errors_warn() -> None:
    worst, other = nvlink(links("h100x8", "a100"), links("h100x8"))
    assert worst.message == "GPU 1: NVLink errors (CRC Errors, Replay Errors)"
    assert (worst.status, other.status) == (Status.WARN, Status.PASS)


def test_node_without_nvlink_among_nodes_with_it_warns() -> None:
    assert brief(nvlink(links("h100x8"), links("h100x8"), {"error": None, "gpus": []})) == [
        ("warn", "node2"),
        ("pass", "node0,node1"),
    ]


def test_nvlink_error_is_incomplete() -> None:
    (finding,) = nvlink({"error": "nvidia-smi did not answer within 15 s", "gpus": []})
    assert finding.status is Status.INCOMPLETE


# The fabric

RUNS: Raw = {
    "manager": "/usr/bin/nv-fabricmanager",
    "version": "550.90.07",
    "active": "active",
    "package": "nvidia-fabricmanager-535",
}


def fabric_of(raw: Raw, **more: Any) -> Finding:
    answers = answered(FABRIC, {**RUNS, **more})
    (finding,) = verdict("gpu.fabric", nodes(raw, answers=answers))
    return finding


def test_registered_fabric_passes() -> None:
    finding = fabric_of({**HEALTHY, "switches": 4})
    assert (finding.status, finding.message) == (
        Status.PASS,
        "the GPUs are registered with the NVLink fabric",
    )


def test_fabric_manager_of_another_version_fails() -> None:
    finding = fabric_of({**HEALTHY, "switches": 4}, version="535.104.05")
    assert finding.status is Status.FAIL
    assert finding.message.startswith("fabric manager 535.104.05 with driver 550.90.07:")
    assert commands(finding) == (
        "apt-get install -y 'nvidia-fabricmanager-550=550.90.07*'",
        "systemctl restart nvidia-fabricmanager",
    )
    assert (
        commands(fabric_of({**HEALTHY, "switches": 4}, version="535.104.05", package="x;y")) == ()
    )


def test_gpu_that_is_not_registered_fails() -> None:
    finding = fabric_of({**SICK, "switches": 4})
    assert finding.status is Status.FAIL
    assert finding.message.startswith("GPU 7: not registered with the NVLink fabric (In Progress)")


def test_unhealthy_fabric_warns() -> None:
    finding = fabric_of(found("b200-570"))
    assert (finding.status, finding.message) == (
        Status.WARN,
        "GPU 0: the NVLink fabric is unhealthy",
    )


AMPERE = found("a100x2-535-mig", switches=6)  # its GPUs report no fabric state


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, Status.PASS),
        ({"active": "failed"}, Status.FAIL),
        ({"active": "inactive", "manager": None, "version": None}, Status.FAIL),
        ({"active": None, "manager": None, "version": None}, Status.INCOMPLETE),  # a container
    ],
)
def test_fabric_without_gpu_states_is_judged_by_the_service(more: Raw, status: Status) -> None:
    assert fabric_of(AMPERE, **more).status is status


def test_stopped_fabric_manager_with_registered_gpus_warns() -> None:
    finding = fabric_of({**HEALTHY, "switches": 4}, active="failed")
    assert finding.status is Status.WARN
    assert commands(finding) == ("systemctl enable --now nvidia-fabricmanager",)


def test_nodes_without_nvswitch_are_skipped_as_one_finding() -> None:
    answers = answered(FABRIC, RUNS, RUNS)
    plain = found("v100-418")
    (finding,) = verdict("gpu.fabric", nodes(plain, NOTHING, answers=answers))
    assert (finding.status, finding.message) == (Status.SKIP, "no NVSwitch on any node")


# Invalid answers

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
PARSERS: list[Callable[[Any], object]] = [GPU.parse, XID.parse, NVLINK.parse, FABRIC.parse]


@given(st.sampled_from(PARSERS), JUNK)
def test_invalid_answer_is_refused(parse: Callable[[Any], object], junk: Any) -> None:
    with pytest.raises((ArithmeticError, AttributeError, LookupError, TypeError, ValueError)):
        parse(junk)


@given(st.sampled_from(sorted(HEALTHY["smi"]["gpus"][0])), JUNK)
def test_gpu_with_an_invalid_field_is_refused_or_judged(field: str, junk: Any) -> None:
    gpus = [{**HEALTHY["smi"]["gpus"][0], field: junk}]
    raw = showing({**HEALTHY, "devices": [0]}, gpus)
    try:
        where = nodes(raw)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return
    for check in ("gpu", "gpu.busy", "gpu.ecc", "gpu.remap"):
        assert verdict(check, where)


# The GPUs that no rank may see


def without(raw: Raw, gpu: int, **more: Any) -> Context:
    """Return a context of one node, as `raw` has it, whose ranks see all GPUs but one."""
    return nodes(raw, host_of={0: {"devices": f"^{gpu}"}}, **more)


def test_gpu_that_is_lost_does_not_matter_to_ranks_that_do_not_see_it() -> None:
    gpus = [dict(each) for each in HEALTHY["smi"]["gpus"]]
    gpus[4]["sick"] = "GPU is lost"
    lost = showing(HEALTHY, gpus)
    assert [f.status for f in verdict("gpu", nodes(lost))] == [Status.FAIL]
    (finding,) = verdict("gpu", without(lost, 4))
    assert (finding.status, finding.message) == (
        Status.PASS,
        "7 GPUs, NVIDIA H100 80GB HBM3, for 7 ranks",
    )


def test_xid_of_a_gpu_that_no_rank_sees_only_warns() -> None:
    bus = HEALTHY["smi"]["gpus"][4]["bus"].partition(":")[2].rpartition(".")[0]
    line = f"3990 Xid (PCI:0000:{bus}): 79, pid=1, GPU has fallen off the bus."
    answers = answered(XID, log(line))
    assert [f.status for f in verdict("gpu.xid", nodes(HEALTHY, answers=answers))] == [Status.FAIL]
    (finding,) = verdict("gpu.xid", without(HEALTHY, 4, answers=answers))
    assert finding.status is Status.WARN
    assert finding.message.endswith(" (no rank uses it)")
    assert "GPU 4" in finding.message


def test_links_of_gpus_that_no_rank_sees_do_not_count() -> None:
    raw = links("h100x8")
    raw["gpus"][4] = {**raw["gpus"][4], "active": 0}
    answers = answered(NVLINK, raw)
    assert [f.status for f in verdict("gpu.nvlink", nodes(HEALTHY, answers=answers))] == [
        Status.FAIL
    ]
    (finding,) = verdict("gpu.nvlink", without(HEALTHY, 4, answers=answers))
    assert finding.status is Status.PASS
    hidden = nodes(HEALTHY, answers=answers, job=Job("t.py", launcher="torchrun", devices="cpu"))
    assert [f.status for f in verdict("gpu.nvlink", hidden)] == [Status.SKIP]


def test_ranks_on_the_cpu_of_all_nodes_need_no_gpu_on_any() -> None:
    job = Job("t.py", launcher="torchrun", devices="cpu:2")
    assert {f.status for f in verdict("gpu", nodes(HEALTHY, NOTHING, job=job))} == {Status.SKIP}
    assert Status.FAIL in {f.status for f in verdict("gpu", nodes(HEALTHY, NOTHING))}


def test_processes_on_gpus_that_no_rank_sees_do_not_matter() -> None:
    gpus = [dict(each) for each in HEALTHY["smi"]["gpus"]]
    gpus[4]["used"] = 60_000
    busy = showing(HEALTHY, gpus)
    assert [f.status for f in verdict("gpu.busy", nodes(busy))] == [Status.WARN]
    assert [f.status for f in verdict("gpu.busy", without(busy, 4))] == [Status.PASS]
