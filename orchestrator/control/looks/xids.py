"""What NVIDIA's driver reported in the kernel log while a rank ran."""

from __future__ import annotations

import time

from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject, unanswered
from orchestrator.preflight.gpus.health import XID, Event
from orchestrator.preflight.gpus.xid import Action, explain
from orchestrator.preflight.model import NoAnswer

_MARGIN = 5.0  # seconds
_FIXES = {
    Action.REBOOT: "exclude the node and reboot it; if it happens again, check the GPU's power and seating",
    Action.RESET: "exclude the node; reset the GPU (nvidia-smi --gpu-reset) when it is idle; else reboot",
    Action.LOOK: "look the code up in NVIDIA's Xid catalogue; exclude the node until it is clear",
}


def judge(subject: Subject, known: Known) -> Finding:
    """Return whether the hardware failed, by what the driver reported since the rank began."""
    found = known.of(XID)
    if isinstance(found, NoAnswer):
        return unanswered("kernel log", found)
    if found.source is None:
        return Finding((f"kernel log: it cannot be read ({found.why or 'no reason given'})",))
    began = subject.rank.started - subject.skews.get(subject.node.name, 0.0)
    age = max(0.0, time.time() - began) + _MARGIN
    since = [event for event in found.events if event.age <= age]
    if not since:
        kept = "" if found.whole or found.events else ", as far as it reaches back"
        return Finding((f"kernel log ({found.source}): no Xid since the rank began{kept}",))
    looked = tuple(f"kernel log ({found.source}): {_described(event)}" for event in since[:4])
    worst = max(since, key=_weight)
    meaning = explain(worst.kind, worst.code, worst.text)
    if meaning.action in _FIXES:
        text = f"{_described(worst)} on {subject.node.name}: {meaning.meaning}"
        return Finding(looked, Cause(text, _FIXES[meaning.action]))
    if meaning.action is Action.APPLICATION and subject.hit.signature.id == "cuda.illegal-access":
        cause = Cause(
            f"a kernel of the program accessed invalid memory ({_described(worst)}); the driver reports no "
            "fault of the GPU",
            "run with CUDA_LAUNCH_BLOCKING=1, or compute-sanitizer, to see which kernel",
        )
        return Finding(looked, cause)
    return Finding(looked)


def _weight(event: Event) -> int:
    return explain(event.kind, event.code, event.text).action.weight


def _described(event: Event) -> str:
    whose = "" if event.pid is None else f" of process {event.pid}"
    return f"{event.kind} {event.code} of GPU {event.bus}{whose}"


XIDS_LOOK = Look("xids", (XID,), lambda subject: {XID.name: {}}, judge)
