"""Whether the kernel killed a process for lack of memory, or something else did."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.util.text import counted, format_size

_OOM, _KILLED, _WORKER = "memory.oom-killer", "exit.kill", "loader.killed"
_GLOBAL = re.compile(r"(?<!cgroup )out of memory: Kill|constraint=CONSTRAINT_NONE", re.I)
_LESS = "use fewer data loader workers, or smaller batches or caches"


def judge(subject: Subject, known: Known) -> Finding:
    """Return who killed the rank, or the worker that its output names."""
    evidence, name = known.evidence, subject.hit.signature.id
    pid = subject.rank.pid
    if name == _WORKER:
        pid = int(subject.hit.first.details.get("pid", "0")) or pid
    looked = (_counter(evidence), _log(evidence, pid))
    if name == _OOM:
        return Finding(looked, _out_of_memory(evidence))
    if name == _WORKER and subject.hit.first.details.get("signal") != "Killed":
        return Finding(looked)
    if name == _WORKER and (evidence.lines_about(pid) or evidence.kills_of(pid)):
        cause = _out_of_memory(evidence)
        text = f"process {pid} was a data loader worker: {cause.text}"
        return Finding(looked, Cause(text, cause.fix, _OOM))
    if name in (_KILLED, _WORKER) and _is_cleared(evidence, pid):
        cause = Cause(
            "the kernel counted no kill for lack of memory: a person, a scheduler or another program sent "
            "SIGKILL (such as `kill -9`, the end of a job, or earlyoom and systemd-oomd)",
            "ask who did; on the node: journalctl --since -1h -g 'oomd|earlyoom|Killing process'",
            checkable=False,
        )
        return Finding(looked, cause)
    return Finding(looked)


def _is_cleared(evidence: NodeEvidence, pid: int) -> bool:
    """Return whether it is certain that the kernel did not kill the process for lack of memory."""
    return evidence.oom_kills is not None and not evidence.kills_of(pid)


def _out_of_memory(evidence: NodeEvidence) -> Cause:
    line = next((line for line in evidence.kernel or () if "out of memory" in line.lower()), "")
    group = evidence.group
    if group is None or _GLOBAL.search(line):
        return Cause("the kernel killed it, because the machine had no memory left", _LESS)
    return Cause(
        f"the kernel killed it, because its control group {group.path} reached its limit of "
        f"{format_size(group.limit)}",
        f"{_LESS}; or raise the limit (docker: --memory; systemd: MemoryMax; Kubernetes: "
        "resources.limits.memory)",
    )


def _counter(evidence: NodeEvidence) -> str:
    if evidence.oom_kills is None:
        return "kills for lack of memory: the kernel shows no count for the rank's control group"
    kills = counted(evidence.oom_kills, "kill")
    file = PurePosixPath(evidence.counter or "memory.events").name
    return f"{file}: {kills} for lack of memory since the rank began"


def _log(evidence: NodeEvidence, pid: int) -> str:
    if evidence.kernel is None:
        return f"kernel log: not read ({evidence.why or 'it was not asked for'})"
    lines = len(evidence.lines_about(pid))
    said = counted(lines, "line") if lines else "nothing"
    return f"kernel log ({evidence.source or 'kmsg'}): {said} about process {pid}"


MEMORY_LOOK = Look("memory", (), lambda subject: {}, judge)
