"""The health of GPUs: memory errors, pending resets, and their errors in the kernel log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from orchestrator.preflight.answers import reader, text
from orchestrator.preflight.gpus.devices import (
    GPU,
    Gpu,
    Gpus,
    each_gpu_node,
    numbered,
    same_bus,
)
from orchestrator.preflight.gpus.xid import Action, explain
from orchestrator.preflight.judge import judge_nodes
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.verdict import Verdict, fail, passed, skip, warn

_DAY = 86400.0
_REPLACE_GPU = (
    "replace the GPU; until then exclude it (CUDA_VISIBLE_DEVICES), or its node (--exclude)"
)


def _kind(raw: Any) -> str:
    return "SXid" if raw == "SXid" else "Xid"


@dataclass(frozen=True)
class Event:
    """Errors of one code on one device; `age` of the last is in seconds."""

    kind: Annotated[str, _kind]
    code: int
    bus: Annotated[str, partial(text, limit=20)]
    count: int
    age: float
    text: str
    pid: int | None
    name: str | None


@dataclass(frozen=True)
class KernelLog:
    """NVIDIA's errors in a node's kernel log; `source` is None, and `why` says why, if it is unreadable."""

    source: str | None
    why: str | None
    whole: bool
    events: tuple[Event, ...]


XID = Probe("kernel_log.xids", reader(KernelLog))


def _faulty(
    node: NodeContext,
    found: Gpus,
    gpus: Sequence[Gpu],
    what: str,
    text: str,
    commands: tuple[str, ...] = (),
) -> Verdict:
    """Return the verdict on faulty GPUs: fail if a rank uses one of them, otherwise warn."""
    used = any(gpu in found.used_by(node) for gpu in gpus)
    message = f"{numbered(gpus)}: {what}{'' if used else ' (no rank uses it)'}"
    return Verdict(Status.FAIL if used else Status.WARN, message, text, commands)


@check("gpu.ecc", Group.GPU, probes=(GPU,))
@each_gpu_node
def check_ecc(node: NodeContext, found: Gpus) -> Verdict:
    """No GPU has had uncorrectable memory errors since its last reset.

    The ECC counters of `nvidia-smi -q -x`. Volatile uncorrectable errors above zero fail on a GPU that a
    rank will use, and warn on another: the damaged memory stays in use until a reset (`nvidia-smi
    --gpu-reset -i BUS`). *SRAM threshold exceeded* means that the GPU must be replaced. The aggregate
    counters, of the GPU's whole life, are only reported. Skipped if ECC is off or missing.
    """
    worn = [gpu for gpu in found.gpus if gpu.flags.get("sram threshold") == "Yes"]
    bad = [gpu for gpu in found.gpus if gpu.volatile]
    data = {
        str(gpu.index): {"volatile": gpu.volatile, "aggregate": gpu.aggregate}
        for gpu in found.gpus
        if gpu.volatile is not None
    }
    if worn:
        what = "more SRAM errors than a GPU may have"
        verdict = _faulty(node, found, worn, what, _REPLACE_GPU)
    elif bad:
        what = "uncorrectable ECC errors since the last reset"
        fix = "reset the GPU when nothing uses it; if the errors come back, have it replaced"
        verdict = _faulty(node, found, bad, what, fix, _resets(bad))
    elif data:
        old = [gpu for gpu in found.gpus if gpu.aggregate]
        before = f"; {numbered(old)} had some before" if old else ""
        verdict = passed(f"no uncorrectable ECC error since the last reset{before}")
    else:
        verdict = skip("the GPUs have no ECC, or it is off")
    return replace(verdict, data=data)


_UNREPAIRABLE = ("remap failure", "unrepairable memory")
_PENDING = (
    "remap pending", "retirement pending", "channel repair pending", "tpc repair pending",
    "reset required",
)  # fmt: skip


@check("gpu.remap", Group.GPU, probes=(GPU,))
@each_gpu_node
def check_remap(node: NodeContext, found: Gpus) -> Verdict:
    """No GPU needs a reset or a repair of its memory.

    Row remapping (page retirement before Ampere), channel and TPC repair, and the recovery action that the
    driver advises, from `nvidia-smi -q -x`. What is *pending* fails: the next reset or reboot does it, and
    until then an access to the bad rows ends the job. A *remap failure* or unrepairable memory fails for
    good: the GPU must be replaced. On a GPU that no rank uses, all this only warns.
    """
    broken = [gpu for gpu in found.gpus if any(gpu.flags.get(f) == "Yes" for f in _UNREPAIRABLE)]
    to_reboot = [gpu for gpu in found.gpus if "Reboot" in (gpu.flags.get("recovery") or "")]
    to_reset = [gpu for gpu in found.gpus if _pending(gpu)]
    if broken:
        what = "faulty memory could not be remapped"
        verdict = _faulty(node, found, broken, what, _REPLACE_GPU)
    elif to_reboot:
        what = "the driver asks for a reboot of the node"
        verdict = _faulty(node, found, to_reboot, what, "reboot the node")
    elif to_reset:
        reasons = sorted({reason for gpu in to_reset for reason in _pending(gpu)})
        what = f"{', '.join(reasons)}; a reset is due"
        fix = "reset the GPU when nothing uses it, or reboot the node"
        verdict = _faulty(node, found, to_reset, what, fix, _resets(to_reset))
    elif all(value is None for gpu in found.gpus for value in gpu.flags.values()):
        return skip("these GPUs do not report it")
    else:
        verdict = passed("no GPU needs a reset or a repair")
    flags = {
        str(gpu.index): {n: v for n, v in gpu.flags.items() if v not in (None, "No", "None")}
        for gpu in found.gpus
    }
    return replace(verdict, data={index: own for index, own in flags.items() if own})


def _pending(gpu: Gpu) -> list[str]:
    """Return why a GPU needs a reset."""
    reasons = [flag for flag in _PENDING if gpu.flags.get(flag) == "Yes"]
    recovery = gpu.flags.get("recovery") or ""
    return [*reasons, f"recovery action {recovery!r}"] if "Reset" in recovery else reasons


def _resets(gpus: Iterable[Gpu]) -> tuple[str, ...]:
    return tuple(f"nvidia-smi --gpu-reset -i {gpu.selector}" for gpu in gpus)


@check("gpu.xid", Group.GPU, probes=(GPU, XID))
def check_xid(context: Context) -> list[Finding]:
    """The kernel log has no Xid that asks for a reset or a reboot.

    NVIDIA's Xids (and SXids of NVSwitches) in the kernel log since boot, read from `/dev/kmsg`, `journalctl
    -k` or `dmesg`, each with its meaning.

    Fails: 79, a GPU fell off the bus (reboot); 46, 48, 62, 64, 74, 95, 109, 119, 120, 140 and others that
    ask for a reset, within the last day; older ones warn, since a reset leaves no trace in the log. Warns:
    63, 92, 94 (memory that begins to fail), and codes that are not in the table. Passes, but is mentioned:
    13, 31, 43, 45, which applications cause. If the login may not read the log (`kernel.dmesg_restrict`),
    the check is skipped: nothing is known then. What fails only warns if no rank uses that GPU.
    """
    nodes, logs = context.answers_to(GPU), context.answers_to(XID)

    def verdict(node: NodeContext) -> Verdict:
        found, log = nodes.get(node.name), logs.get(node.name)
        if found and not (found.served or found.drivers or (log and log.events)):
            return skip("no NVIDIA GPU")
        used = found.used_by(node) if found else ()
        return _judge_log(node.answer(XID), found.gpus if found else (), used)

    return judge_nodes(context, verdict)


def _judge_log(log: KernelLog, gpus: Sequence[Gpu], used: Sequence[Gpu]) -> Verdict:
    if log.source is None:
        return skip(
            "the kernel log cannot be read by this login",
            "members of the group adm or systemd-journal may read the journal; kernel.dmesg_restrict=0 "
            "lets everyone read dmesg",
            data={"why": log.why},
        )
    data = {"source": log.source, "whole": log.whole, "events": [_as_data(e) for e in log.events]}
    verdict = _judge_events(log, gpus)
    if verdict.status is Status.FAIL:
        spare = [gpu.bus for gpu in gpus if gpu not in used]
        own = [e for e in log.events if not any(same_bus(bus, e.bus) for bus in spare)]
        if _judge_events(replace(log, events=tuple(own)), gpus).status is not Status.FAIL:
            message = f"{verdict.message} (no rank uses it)"
            verdict = replace(verdict, status=Status.WARN, message=message)
    return replace(verdict, data=data)


def _judge_events(log: KernelLog, gpus: Sequence[Gpu]) -> Verdict:
    """Return the verdict on the events that ask for most."""
    actions = [explain(e.kind, e.code, e.text).action for e in log.events]
    worst = max(actions, key=lambda action: action.weight, default=Action.NOTE)
    events = [event for event, action in zip(log.events, actions, strict=True) if action is worst]
    what = "; ".join(dict.fromkeys(_describe(event, gpus) for event in events[:4]))
    since = "since boot" if log.whole else "in what is left of the kernel log"
    if not log.events:
        return passed(f"no Xid {since}")
    if worst in (Action.NOTE, Action.APPLICATION):
        codes = ", ".join(map(str, sorted({event.code for event in log.events})))
        return passed(f"only Xids of applications {since} ({codes})")
    if worst is Action.REBOOT:
        fix = "reboot the node. If it happens again, have the GPU's seat, power and cooling checked"
        return fail(what, fix)
    if worst is Action.RESET:
        recent = [event for event in events if event.age < _DAY]
        fix = (
            "reset the GPU when nothing uses it (with NVSwitches: all of them, after a restart of "
            "nvidia-fabricmanager), unless that was done since; if that does not help, reboot the node"
        )
        if recent:
            return fail(what, fix, _resets_for(recent, gpus))
        # A reset leaves no trace in the log, so this one may be over.
        return warn(f"{what}, more than a day ago", fix, _resets_for(events, gpus))
    if worst is Action.WATCH:
        return warn(what, "watch this GPU, and reset it when that is convenient")
    return warn(what, "look the code up in NVIDIA's Xid catalogue")


def _as_data(event: Event) -> Mapping[str, Any]:
    return {**vars(event), "age": round(event.age)}


def _describe(event: Event, gpus: Sequence[Gpu]) -> str:
    """Return the event as text, without what differs between nodes."""
    where = next((f"GPU {gpu.index}" for gpu in gpus if same_bus(gpu.bus, event.bus)), event.bus)
    times = ", several times" if event.count > 1 else ""
    meaning = explain(event.kind, event.code, event.text).meaning
    return f"{event.kind} {event.code} on {where}: {meaning}{times}"


def _resets_for(events: Sequence[Event], gpus: Sequence[Gpu]) -> tuple[str, ...]:
    if any(event.kind == "SXid" for event in events):
        return ("systemctl restart nvidia-fabricmanager", "nvidia-smi --gpu-reset")
    return _resets(gpu for gpu in gpus if any(same_bus(gpu.bus, e.bus) for e in events))


CHECKS = (check_ecc, check_remap, check_xid)
