"""Who uses a GPU, and what its driver reported, by recorded output of nvidia-smi and the kernel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node.probes import gpu, kernel_log
from tests.runs.helpers import rank

from .subjects import found, subject_of

RECORDED = Path(__file__).parents[2] / "recorded"
FULL = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU {0} has a total capacity "
    "of 79.11 GiB of which 1.20 GiB is free.\n"
)
ILLEGAL = "RuntimeError: CUDA error: an illegal memory access was encountered\n"


def smi(on: dict[int, list[dict[str, Any]]] | None = None, **more: Any) -> Any:
    """Return the answer of the probe on a machine with the recorded output of nvidia-smi.

    `on` has processes of GPUs by their numbers, with what each uses in MiB, as a driver adds them.
    """
    gpus = gpu.parse((RECORDED / "nvidia-smi/h100x8-550.xml").read_text())
    for number, processes in (on or {}).items():
        gpus[number]["processes"] = processes
        gpus[number]["used"] += sum(each["used"] for each in processes)
    return {
        "devices": list(range(len(gpus))), "pci": [], "switches": 0, "version": "550.54", "open": True,
        "visible": None, "amd": 0, "smi": {"error": None, "hung": False, "gpus": gpus}, **more,
    }  # fmt: skip


def test_recorded_process_of_another_job_is_named() -> None:
    answer = smi()
    answer["smi"]["gpus"] = gpu.parse((RECORDED / "nvidia-smi/h100x8-550-sick.xml").read_text())
    number = next(n for n, each in enumerate(answer["smi"]["gpus"]) if each["processes"])
    seen = found(subject_of(FULL.format(number)), gpu=answer)
    assert seen.cause is not None
    assert "process 912345 (/opt/conda/bin/python -u train.py --lr 1e-4)" in seen.cause.text
    assert "61,234 MiB" in seen.cause.text


def process(**more: Any) -> dict[str, Any]:
    return {
        "pid": 4711, "name": "python", "used": 60_000, "owner": "bob", "run": None, **more,
    }  # fmt: skip


def test_other_user_on_the_gpu_is_named_with_what_it_uses() -> None:
    seen = found(subject_of(FULL.format(3)), gpu=smi({3: [process()]}))
    assert seen.cause is not None
    assert seen.cause.text.startswith("others use 60,000 MiB of GPU 3 (NVIDIA H100")
    assert "process 4711 (python) of user bob, 60,000 MiB" in seen.cause.text
    assert seen.cause.fix.startswith("kill 4711 on n0, if it is left over")
    assert seen.looked[0].startswith("nvidia-smi, GPU 3: 60,004 of 81,559 MiB used")


def test_rank_alone_on_the_gpu_needs_more_than_that_has() -> None:
    seen = found(subject_of(FULL.format(3)), gpu=smi({2: [process()]}))
    assert seen.cause is not None
    assert "nobody else uses GPU 3" in seen.cause.text
    assert "81,559 MiB" in seen.cause.text


def test_second_rank_of_the_run_on_the_gpu_is_named() -> None:
    seen = found(subject_of(FULL.format(0)), gpu=smi({0: [process(pid=101)]}))
    assert seen.cause is not None
    assert "another rank of this run uses GPU 0" in seen.cause.text
    assert "torch.cuda.set_device" in seen.cause.fix


def test_memory_that_no_process_shows_belongs_to_another_container() -> None:
    answer = smi()
    answer["smi"]["gpus"][0]["used"] = 70_000
    seen = found(subject_of(FULL.format(0)), gpu=answer)
    assert seen.cause is not None
    assert "processes that nvidia-smi does not show here" in seen.cause.text


def test_gpu_is_that_of_the_visible_ones_with_the_number_of_the_message() -> None:
    seen = found(subject_of(FULL.format(1)), gpu=smi({6: [process()]}, visible="4,6"))
    assert seen.cause is not None
    assert "of GPU 6 (" in seen.cause.text


def test_lost_gpu_is_named() -> None:
    subject = subject_of("RuntimeError: GPU is lost\n", rank=rank(4))
    answer = smi()
    answer["smi"]["gpus"][4]["sick"] = "GPU is lost"
    hidden: dict[str, Any] = {"source": None, "why": "not permitted", "whole": False, "events": []}
    seen = found(subject, gpu=answer, kernel_log_xids=hidden)
    assert seen.cause is not None
    assert seen.cause.text.startswith("GPU 4 (NVIDIA H100")
    assert seen.cause.text.endswith("of n0 does not work: GPU is lost")


@pytest.mark.parametrize("error", ["no answer within 15 s", None])
def test_nvidia_smi_without_answer_is_said_to_be_so(error: str | None) -> None:
    answer = smi(smi={"error": error, "hung": True, "gpus": []})
    seen = found(subject_of(FULL.format(0)), gpu=answer)
    assert (seen.cause, seen.looked) == (None, (f"nvidia-smi: {error or 'it shows no GPU'}",))


def log(*codes: int, age: float = 1.0) -> dict[str, Any]:
    """Return the answer about a kernel log in which these Xids are `age` seconds old."""
    text = "NVRM: Xid (PCI:0000:52:00): {}, pid=100, name=python, Ch 00000008"
    lines = [kernel_log.Line(100.0, text.format(code)) for code in codes]
    events = kernel_log.events(lines, 100.0 + age)
    return {"source": "journal", "why": None, "whole": True, "events": events}


def illegal(**more: Any) -> Any:
    subject = subject_of(ILLEGAL)
    began = rank(0, subject.rank.end, time.time())
    object.__setattr__(began, "started", time.time() - 60)
    return found(subject_of(ILLEGAL, rank=began), **more)


def test_xid_of_the_hardware_is_the_cause() -> None:
    seen = illegal(kernel_log_xids=log(31, 79))
    assert seen.cause is not None
    assert (
        seen.cause.text
        == "Xid 79 of GPU 0000:52:00 of process 100 on n0: GPU has fallen off the bus"
    )
    assert "reboot" in seen.cause.fix


def test_xid_of_the_program_is_attributed_to_the_program() -> None:
    seen = illegal(kernel_log_xids=log(31))
    assert seen.cause is not None
    assert "a kernel of the program accessed invalid memory (Xid 31" in seen.cause.text
    assert "no fault of the GPU" in seen.cause.text


def test_xid_before_the_rank_began_explains_nothing() -> None:
    seen = illegal(kernel_log_xids=log(79, age=3600.0))
    assert (seen.cause, seen.looked) == (
        None,
        ("kernel log (journal): no Xid since the rank began",),
    )


def test_unreadable_kernel_log_is_said_to_be_so() -> None:
    hidden: dict[str, Any] = {
        "source": None,
        "why": "dmesg: not permitted",
        "whole": False,
        "events": [],
    }
    seen = illegal(kernel_log_xids=hidden)
    assert (seen.cause, seen.looked) == (
        None,
        ("kernel log: it cannot be read (dmesg: not permitted)",),
    )
