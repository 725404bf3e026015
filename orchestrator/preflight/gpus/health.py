"""The health of GPUs: memory errors, what waits for a reset, and what the kernel's log has of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import finite, optional, text
from orchestrator.preflight.gpus.devices import GPU, Gpu, Gpus, judge_gpus, numbered, same_bus, used
from orchestrator.preflight.gpus.xid import Action, explain
from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NoAnswer,
    NodeContext,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn

_DAY = 86400.0
_SPARED = " (no rank uses it)"


@dataclass(frozen=True)
class Event:
    """Errors of one code on one device; `age` of the last is in seconds."""

    kind: str
    code: int
    bus: str
    count: int
    age: float
    text: str
    pid: int | None
    name: str | None


@dataclass(frozen=True)
class KernelLog:
    """NVIDIA's errors in a node's kernel log; `source` is None where that could not be read."""

    source: str | None
    why: str | None
    whole: bool
    events: tuple[Event, ...]

    @classmethod
    def parse(cls, raw: Any) -> KernelLog:
        return cls(
            source=optional(text, raw["source"]),
            why=optional(text, raw["why"]),
            whole=bool(raw["whole"]),
            events=tuple(
                Event(
                    kind="SXid" if entry["kind"] == "SXid" else "Xid",
                    code=int(entry["code"]),
                    bus=str(entry["bus"])[:20],
                    count=int(entry["count"]),
                    age=finite(entry["age"]),
                    text=str(entry["text"])[:200],
                    pid=optional(int, entry["pid"]),
                    name=optional(text, entry["name"]),
                )
                for entry in raw["events"]
            ),
        )


XID = Probe("kernel_log.xids", KernelLog.parse)


@check("gpu.ecc", Group.GPU, probes=(GPU,))
def check_ecc(context: Context) -> list[Finding]:
    """No GPU has had uncorrectable memory errors since its last reset.

    The ECC counters of `nvidia-smi -q -x`. Volatile uncorrectable errors above zero fail on a GPU that a
    rank will use, and warn on another: the memory that was hit stays in use until a reset (`nvidia-smi
    --gpu-reset -i BUS`). *SRAM threshold exceeded* asks for another GPU. The aggregate counters, of the
    GPU's whole life, are only said. Skipped where ECC is off or missing.
    """

    def verdict(node: NodeContext, found: Gpus) -> Verdict:
        data = {
            str(gpu.index): {"volatile": gpu.volatile, "aggregate": gpu.aggregate}
            for gpu in found.gpus
            if gpu.volatile is not None
        }
        worn = [gpu for gpu in found.gpus if gpu.flags.get("sram threshold") == "Yes"]
        if worn:
            return Verdict(
                _serious(node, found, worn),
                f"{numbered(worn)}: more SRAM errors than a GPU may have{_spared(node, found, worn)}",
                "have the GPU replaced; until then leave it out with CUDA_VISIBLE_DEVICES, or the node "
                "with --exclude",
                data=data,
            )
        bad = [gpu for gpu in found.gpus if gpu.volatile]
        if bad:
            return Verdict(
                _serious(node, found, bad),
                f"{numbered(bad)}: uncorrectable ECC errors since the last reset"
                f"{_spared(node, found, bad)}",
                "reset the GPU when nothing uses it; if the errors come again, have it replaced",
                _resets(bad),
                data,
            )
        if not data:
            return skip("the GPUs have no ECC, or it is off")
        old = [gpu for gpu in found.gpus if gpu.aggregate]
        said = f"; {numbered(old)} had some before" if old else ""
        return passed(f"no uncorrectable ECC error since the last reset{said}", data=data)

    return judge_gpus(context, verdict, "ECC")


_REPLACE = ("remap failure", "unrepairable memory")
_PENDING = (
    "remap pending", "retirement pending", "channel repair pending", "tpc repair pending",
    "reset required",
)  # fmt: skip


@check("gpu.remap", Group.GPU, probes=(GPU,))
def check_remap(context: Context) -> list[Finding]:
    """No GPU waits for a reset or a repair of its memory.

    Row remapping (page retirement before Ampere), channel and TPC repair, and the recovery action that the
    driver advises, from `nvidia-smi -q -x`. What is *pending* fails: it is done by the next reset or
    reboot, and until then an access to the bad rows ends the job. A *remap failure* or unrepairable memory
    fails for good: the GPU is to be replaced. On a GPU that no rank uses, all this only warns.
    """

    def verdict(node: NodeContext, found: Gpus) -> Verdict:
        data = {
            str(gpu.index): flags
            for gpu in found.gpus
            if (flags := {n: v for n, v in gpu.flags.items() if v not in (None, "No", "None")})
        }
        broken = [gpu for gpu in found.gpus if any(gpu.flags.get(f) == "Yes" for f in _REPLACE)]
        if broken:
            return Verdict(
                _serious(node, found, broken),
                f"{numbered(broken)}: faulty memory could not be remapped{_spared(node, found, broken)}",
                "have the GPU replaced; until then leave it out with CUDA_VISIBLE_DEVICES, or the node "
                "with --exclude",
                data=data,
            )
        asked = [gpu for gpu in found.gpus if "Reboot" in (gpu.flags.get("recovery") or "")]
        if asked:
            return Verdict(
                _serious(node, found, asked),
                f"{numbered(asked)}: the driver asks for a reboot of the node"
                f"{_spared(node, found, asked)}",
                "reboot the node",
                data=data,
            )
        waiting = [gpu for gpu in found.gpus if _pending(gpu)]
        if waiting:
            reasons = sorted({reason for gpu in waiting for reason in _pending(gpu)})
            return Verdict(
                _serious(node, found, waiting),
                f"{numbered(waiting)}: {', '.join(reasons)}; a reset is due"
                f"{_spared(node, found, waiting)}",
                "reset the GPU when nothing uses it, or reboot the node",
                _resets(waiting),
                data,
            )
        if all(value is None for gpu in found.gpus for value in gpu.flags.values()):
            return skip("these GPUs do not tell")
        return passed("no GPU waits for a reset or a repair", data=data)

    return judge_gpus(context, verdict, "what waits for a reset")


def _pending(gpu: Gpu) -> list[str]:
    reasons = [flag for flag in _PENDING if gpu.flags.get(flag) == "Yes"]
    recovery = gpu.flags.get("recovery") or ""
    return [*reasons, f"recovery action {recovery!r}"] if "Reset" in recovery else reasons


def _serious(node: NodeContext, found: Gpus, bad: Iterable[Gpu]) -> Status:
    """Return fail for what is wrong with a GPU that the job uses, warn for one that it does not."""
    mine = {gpu.index for gpu in used(node, found)}
    return Status.FAIL if any(gpu.index in mine for gpu in bad) else Status.WARN


def _spared(node: NodeContext, found: Gpus, bad: Iterable[Gpu]) -> str:
    return _SPARED if _serious(node, found, bad) is Status.WARN else ""


def _resets(gpus: Iterable[Gpu]) -> tuple[str, ...]:
    return tuple(f"nvidia-smi --gpu-reset -i {gpu.selector}" for gpu in gpus)


@check("gpu.xid", Group.GPU, probes=(GPU, XID))
def check_xid(context: Context) -> list[Finding]:
    """The kernel log has no Xid that asks for a reset or a reboot.

    NVIDIA's Xids (and SXids of NVSwitches) in the kernel log since boot, read from `/dev/kmsg`, `journalctl
    -k` or `dmesg`, each with what it means.

    Fails: 79, a GPU fell off the bus (reboot); 46, 48, 62, 64, 74, 95, 109, 119, 120, 140 and others that
    ask for a reset, within the last day; older ones warn, since a reset leaves no trace in the log. Warns:
    63, 92, 94 (memory that begins to fail), and codes that are not in the table. Passes with a mention: 13,
    31, 43, 45, which applications cause. Where the login may not read the log (`kernel.dmesg_restrict`) the
    check is skipped: nothing is known then.
    """
    gpus, logs = context.of(GPU), context.of(XID)
    answers = [answer for answer in gpus.values() if isinstance(answer, Gpus)]
    told = any(isinstance(log, KernelLog) and log.events for log in logs.values())
    if len(answers) == len(gpus) and not told and not any(a.served or a.drivers for a in answers):
        return for_all(context, skip("no NVIDIA GPU"))

    def verdict(node: NodeContext) -> Verdict:
        log, found = logs[node.name], gpus[node.name]
        if isinstance(log, NoAnswer):
            return incomplete(log.reason)
        here = found if isinstance(found, Gpus) else None
        if here and not (log.events or here.served or here.drivers):
            return skip("no NVIDIA GPU")
        return _judge_log(log, here.gpus if here else ())

    return to_findings((node.name, verdict(node)) for node in context.nodes)


def _judge_log(log: KernelLog, gpus: Sequence[Gpu]) -> Verdict:
    if log.source is None:
        return skip(
            "the kernel log cannot be read by this login",
            "a member of the group adm or systemd-journal may read the journal; kernel.dmesg_restrict=0 "
            "opens dmesg to all",
            data={"why": log.why},
        )
    data = {"source": log.source, "whole": log.whole, "events": [_measured(e) for e in log.events]}
    reach = "since boot" if log.whole else "in what is left of the kernel log"
    by_action: dict[Action, list[Event]] = {}
    for event in log.events:
        by_action.setdefault(explain(event.kind, event.code, event.text).action, []).append(event)
    if not by_action:
        return passed(f"no Xid {reach}", data=data)
    worst = max(by_action, key=lambda action: action.weight)
    events = by_action[worst]
    said = "; ".join(dict.fromkeys(_told(event, gpus) for event in events[:4]))
    if worst in (Action.NOTE, Action.APPLICATION):
        codes = ", ".join(map(str, sorted({event.code for event in log.events})))
        return passed(f"only Xids of applications {reach} ({codes})", data=data)
    if worst is Action.REBOOT:
        return fail(
            said,
            "reboot the node. If it comes again, have the GPU's seat, power and cooling looked at",
            data=data,
        )
    if worst is Action.RESET:
        recent = [event for event in events if event.age < _DAY]
        # A reset leaves no trace in the log, so an older one may be mended.
        status, when = (Status.FAIL, "") if recent else (Status.WARN, ", more than a day ago")
        return Verdict(
            status,
            f"{said}{when}",
            "reset the GPU when nothing uses it (with NVSwitches: all of them, after a restart of "
            "nvidia-fabricmanager), unless that was done since; if that does not help, reboot the node",
            _reset_of(recent or events, gpus),
            data,
        )
    return warn(
        said,
        "watch this GPU, and reset it when that is convenient"
        if worst is Action.WATCH
        else "look the code up in NVIDIA's Xid catalogue",
        data=data,
    )


def _measured(event: Event) -> dict[str, Any]:
    return {**vars(event), "age": round(event.age)}


def _told(event: Event, gpus: Sequence[Gpu]) -> str:
    """Return the event in words, without what differs between nodes for no reason."""
    where = next((f"GPU {gpu.index}" for gpu in gpus if same_bus(gpu.bus, event.bus)), event.bus)
    times = ", several times" if event.count > 1 else ""
    meaning = explain(event.kind, event.code, event.text).meaning
    return f"{event.kind} {event.code} on {where}: {meaning}{times}"


def _reset_of(events: Sequence[Event], gpus: Sequence[Gpu]) -> tuple[str, ...]:
    if any(event.kind == "SXid" for event in events):
        return ("systemctl restart nvidia-fabricmanager", "nvidia-smi --gpu-reset")
    return _resets(gpu for gpu in gpus if any(same_bus(gpu.bus, e.bus) for e in events))


CHECKS = (
    check_ecc,
    check_remap,
    check_xid,
)
