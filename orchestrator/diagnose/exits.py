"""What the ends of processes say, together with what the kernel says of them."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.diagnose.findings import Findings, match
from orchestrator.diagnose.model import Evidence, Exit, Place
from orchestrator.diagnose.signature import Kind
from orchestrator.diagnose.signatures.exits import BY_CODE, BY_SIGNAL
from orchestrator.diagnose.table import BY_ID

_KILL = 9


def signal_of(code: int) -> int | None:
    """Return the signal that an exit code tells of: -9 and 137 are both 9."""
    if code < 0:
        return -code
    return code - 128 if 128 < code <= 128 + 64 else None


def judge(exits: Iterable[Exit], evidence: Evidence, findings: Findings) -> None:
    """Add what the exits say, and no more than was not said in better words by the rank itself."""
    for end in exits:
        if end.code == 0:
            continue
        signal = signal_of(end.code)
        if signal == _KILL and _out_of_memory(end, evidence, findings):
            continue
        name = BY_SIGNAL.get(signal or 0) or BY_CODE.get(end.code) or "exit.code"
        if name == "exit.code" and _explained(end, findings):
            continue
        findings.add(BY_ID[name], match(_place(end), _text(end, signal, evidence)))


def _out_of_memory(end: Exit, evidence: Evidence, findings: Findings) -> bool:
    """Say that the kernel killed it for lack of memory, if the kernel says so itself."""
    signature = BY_ID["memory.oom-killer"]
    group = findings.of(signature.id)
    for found in list(group.matches.values()) if group else []:
        same_node = end.node is None or found.place.node in (None, end.node)
        if same_node and end.pid is not None and found.details.get("pid") == str(end.pid):
            findings.add(signature, match(_place(end), found.text, found.details.items()))
            return True
    if end.node is not None and evidence.oom_kills.get(end.node, 0) > 0:
        count = evidence.oom_kills[end.node]
        text = f"memory.events of {end.node}: oom_kill grew by {count}"
        pid = "?" if end.pid is None else str(end.pid)
        findings.add(signature, match(_place(end), text, [("pid", pid), ("oom_kills", str(count))]))
        return True
    return False


def _explained(end: Exit, findings: Findings) -> bool:
    """Whether some other line may be the reason why this rank ended with a code of its own."""
    return any(
        group.signature.kind <= Kind.CASCADE
        and not group.signature.id.startswith("torchrun.")
        and (end.rank in group.ranks or not group.ranks)
        for group in findings.groups()
    )


def _text(end: Exit, signal: int | None, evidence: Evidence) -> str:
    if signal is None:
        return f"exit code {end.code}"
    if signal != _KILL:
        return f"exit code {end.code}: signal {signal}"
    if end.node in evidence.kernel_logs:
        return f"exit code {end.code}: SIGKILL; the kernel log of {end.node} does not tell why"
    return f"exit code {end.code}: SIGKILL; no kernel log was read that could tell why"


def _place(end: Exit) -> Place:
    return Place("exit status", rank=end.rank, node=end.node, time=end.time)
