"""Who uses the memory of the GPU that a rank found full or busy."""

from __future__ import annotations

import re

from orchestrator.control.looks.holder import run_name
from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject, unanswered
from orchestrator.preflight.gpus.devices import GPU, Gpu, Gpus, Process
from orchestrator.preflight.model import NoAnswer

_NUMBER = re.compile(r"\b(?:GPU |cuda:|device(?: |=|: ))(?P<number>\d{1,3})\b")
_OTHERS_FROM = 512  # MiB: less does not make a job fail
_MAX_NAMED = 3


def judge(subject: Subject, known: Known) -> Finding:
    """Return who else uses the GPU of the rank."""
    found = known.of(GPU)
    if isinstance(found, NoAnswer):
        return unanswered("nvidia-smi", found)
    if not found.gpus:
        why = found.error or ("there is no NVIDIA GPU" if not found.served else "it shows no GPU")
        return Finding((f"nvidia-smi: {why}",))
    gpu = _gpu_of(subject, found)
    if gpu is None:
        return Finding((f"nvidia-smi: {len(found.gpus)} GPUs; the rank's is not among them",))
    if gpu.sick:
        cause = Cause(
            f"GPU {gpu.index} ({gpu.name}) of {subject.node.name} does not work: {gpu.sick}",
            "exclude the node; reset the GPU when nothing uses it, or reboot",
        )
        return Finding((f"nvidia-smi, GPU {gpu.index}: {gpu.sick}",), cause)
    used = "?" if gpu.used is None else f"{gpu.used:,}"
    size = "?" if gpu.memory is None else f"{gpu.memory:,}"
    looked = [f"nvidia-smi, GPU {gpu.index}: {used} of {size} MiB used after the rank had ended"]
    looked += [
        f"GPU {gpu.index}: {_described(each, subject)}" for each in gpu.processes[:_MAX_NAMED]
    ]
    return Finding(tuple(looked), _explain(subject, gpu))


def _gpu_of(subject: Subject, found: Gpus) -> Gpu | None:
    """Return the GPU that the message names, else the one with the number of the local rank."""
    named = next(filter(None, (_NUMBER.search(text) for text in subject.texts)), None)
    number = subject.rank.local_rank if named is None else int(named["number"])
    processes = subject.node.processes
    own = {name: value for each in processes[:1] for name, value in each.environment.items()}
    variable = {**subject.node.environment, **own}.get("CUDA_VISIBLE_DEVICES", found.visible)
    visible = found.shown_by(variable)
    return visible[number] if number < len(visible) else None


def _explain(subject: Subject, gpu: Gpu) -> Cause | None:
    others = [each for each in gpu.processes if not _is_own(each, subject)]
    peers = [each for each in gpu.processes if _is_own(each, subject)]
    held = sum(each.used or 0 for each in others)
    if others and held >= _OTHERS_FROM:
        named = ", ".join(_described(each, subject) for each in others[:_MAX_NAMED])
        pids = " ".join(str(each.pid) for each in others if each.pid is not None)
        runs = [each.run for each in others if run_name(each.run)]
        end = f"orch stop {runs[0]}" if runs else f"kill {pids} on {subject.node.name}"
        return Cause(
            f"others use {held:,} MiB of GPU {gpu.index} ({gpu.name}): {named}",
            f"{end}, if it is left over; or choose other GPUs (`devices` in the inventory)",
        )
    if peers:
        named = ", ".join(_described(each, subject) for each in peers[:_MAX_NAMED])
        return Cause(
            f"another rank of this run uses GPU {gpu.index} ({gpu.name}), too: {named}",
            "give each rank a GPU of its own: torch.cuda.set_device(int(os.environ['LOCAL_RANK'])) before "
            "anything is put on a GPU",
        )
    if not gpu.processes and (gpu.used or 0) >= _OTHERS_FROM * 2 and not gpu.mig:
        return Cause(
            f"{gpu.used:,} MiB of GPU {gpu.index} ({gpu.name}) are used by processes that nvidia-smi does "
            "not show here, such as those of another container",
            "look on the host itself (`nvidia-smi`), or choose other GPUs (`devices` in the inventory)",
        )
    if gpu.used is not None and gpu.memory is not None and not gpu.processes:
        return Cause(
            f"nobody else uses GPU {gpu.index} ({gpu.name}): the rank needs more than "
            f"{gpu.memory:,} MiB",
            "use a smaller batch, gradient accumulation or checkpointing, or shard the model (FSDP)",
        )
    return None


def _is_own(process: Process, subject: Subject) -> bool:
    return process.run == subject.run or process.pid in subject.ranks


def _described(process: Process, subject: Subject) -> str:
    number = subject.ranks.get(process.pid or 0)
    who = f"process {process.pid or '?'} ({process.name[:60]})"
    if number is not None:
        who = f"rank {number}, {who}"
    elif process.run:
        who = f"run {process.run}, {who}"
    owner = f" of user {process.owner}" if process.owner else ""
    used = "" if process.used is None else f", {process.used:,} MiB"
    return f"{who}{owner}{used}"


GPUS_LOOK = Look("gpus", (GPU,), lambda subject: {GPU.name: {}}, judge)
