"""Explain how processes ended, also with what the kernel reports."""

from __future__ import annotations

from collections.abc import Iterable
from signal import SIGKILL

from orchestrator.diagnose.findings import Findings, match
from orchestrator.diagnose.launcher_exits import signal_of
from orchestrator.diagnose.model import Evidence, Exit, Place
from orchestrator.diagnose.signature import Kind
from orchestrator.diagnose.signatures.exits import BY_CODE, BY_SIGNAL
from orchestrator.diagnose.table import BY_ID


def explain_exits(exits: Iterable[Exit], evidence: Evidence, findings: Findings) -> None:
    """Add what the exits show, except for exit codes that another finding may explain."""
    for end in exits:
        if end.code == 0:
            continue
        signal = signal_of(end.code)
        if signal == SIGKILL and _is_out_of_memory(end, evidence, findings):
            continue
        name = BY_SIGNAL.get(signal or 0) or BY_CODE.get(end.code) or "exit.code"
        if name == "exit.code" and _is_explained(end, findings):
            continue
        findings.add(BY_ID[name], match(_place(end), _text(end, signal, evidence)))


def _is_out_of_memory(end: Exit, evidence: Evidence, findings: Findings) -> bool:
    """Return whether the kernel reports that it killed the rank for lack of memory, and add that."""
    signature = BY_ID["memory.oom-killer"]
    group = findings.of(signature.id)
    for found in list(group.matches.values()) if group else []:
        same_node = end.node is None or found.place.node in (None, end.node)
        if same_node and end.pid is not None and found.details.get("pid") == str(end.pid):
            findings.add(signature, match(_place(end), found.text, found.details.items()))
            return True
    kills = evidence.oom_kills.get(end.node, 0) if end.node is not None else 0
    if kills > 0:
        text = f"memory.events of {end.node}: oom_kill grew by {kills}"
        details = {"pid": "?" if end.pid is None else str(end.pid), "oom_kills": str(kills)}
        findings.add(signature, match(_place(end), text, details.items()))
    return kills > 0


def _is_explained(end: Exit, findings: Findings) -> bool:
    """Return whether another finding may be the reason why this rank ended with an exit code."""
    return any(
        group.signature.kind <= Kind.CASCADE
        and not group.signature.id.startswith("torchrun.")
        and (end.rank is None or end.rank in group.ranks or not group.ranks)
        for group in findings.groups()
    )


def _text(end: Exit, signal: int | None, evidence: Evidence) -> str:
    if signal is None:
        return f"exit code {end.code}"
    if signal != SIGKILL:
        return f"exit code {end.code}: signal {signal}"
    if end.node in evidence.kernel_logs:
        return f"exit code {end.code}: SIGKILL; the kernel log of {end.node} does not show why"
    return f"exit code {end.code}: SIGKILL; no kernel log was read that could show why"


def _place(end: Exit) -> Place:
    return Place("exit status", rank=end.rank, node=end.node, time=end.time)
