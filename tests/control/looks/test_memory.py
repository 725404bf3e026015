"""Who killed a rank: the kernel for lack of memory, or something else."""

from __future__ import annotations

import pytest

from orchestrator.control.node_evidence import MemoryGroup, NodeEvidence
from orchestrator.diagnose import Evidence, Exit, diagnose

from .subjects import found, subject_of

GROUP = MemoryGroup("/box", 1_600_000_000, 10)
WORKER = "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. \n"
OTHER = "Out of memory: Killed process 4000 (python) total-vm:1kB"


def test_kill_that_nothing_counted_was_sent_by_another_process() -> None:
    seen = found(subject_of("", -9), NodeEvidence(oom_kills=0, kernel=(), source="journal"))
    assert seen.cause is not None
    assert "the kernel counted no kill for lack of memory" in seen.cause.text
    assert not seen.cause.checkable
    assert seen.looked == (
        "memory.events: 0 kills for lack of memory since the rank began",
        "kernel log (journal): nothing about process 100",
    )


def test_kill_without_any_evidence_is_not_explained() -> None:
    seen = found(subject_of("", -9), NodeEvidence(why="/dev/kmsg: Operation not permitted"))
    assert seen.cause is None
    assert seen.looked == (
        "kills for lack of memory: the kernel shows no count for the rank's control group",
        "kernel log: not read (/dev/kmsg: Operation not permitted)",
    )


def test_kill_of_another_process_does_not_explain_that_of_a_rank() -> None:
    evidence = NodeEvidence(oom_kills=1, kernel=(OTHER,))
    assert evidence.kills_of(100) == 0
    assert evidence.kills_of(4000) == 1
    assert evidence.kills_of(None) == 1
    assert NodeEvidence(oom_kills=2, kernel=(OTHER,)).kills_of(100) == 2
    assert NodeEvidence(oom_kills=1).kills_of(100) == 1
    seen = found(subject_of("", -9), evidence)
    assert seen.cause is not None
    assert "sent SIGKILL" in seen.cause.text


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (
            NodeEvidence(oom_kills=1, group=GROUP),
            "its control group /box reached its limit of 1.6 GB",
        ),
        (NodeEvidence(oom_kills=1), "the machine had no memory left"),
        (
            NodeEvidence(
                oom_kills=1, group=GROUP, kernel=("Out of memory: Killed process 100 (a)",)
            ),
            "the machine had no memory left",
        ),
        (
            NodeEvidence(
                oom_kills=1,
                group=GROUP,
                kernel=("Memory cgroup out of memory: Killed process 100 (a)",),
            ),
            "reached its limit of 1.6 GB",
        ),
    ],
)
def test_lack_of_memory_names_the_limit(evidence: NodeEvidence, said: str) -> None:
    subject = subject_of("", -9)
    counted = Evidence(exits=(Exit(0, -9, "n0", 100),), oom_kills={"n0": 1})
    hit = diagnose([], counted).best
    assert hit is not None
    object.__setattr__(subject, "hit", hit)
    seen = found(subject, evidence)
    assert seen.cause is not None
    assert said in seen.cause.text


def test_worker_that_the_kernel_killed_ran_out_of_memory() -> None:
    line = "Memory cgroup out of memory: Killed process 4711 (pt_data_worker)"
    seen = found(subject_of(WORKER), NodeEvidence(oom_kills=1, kernel=(line,), group=GROUP))
    assert seen.cause is not None
    assert seen.cause.signature == "memory.oom-killer"
    assert seen.cause.text.startswith("process 4711 was a data loader worker: the kernel killed it")


def test_worker_that_another_process_killed_did_not_run_out_of_memory() -> None:
    seen = found(subject_of(WORKER), NodeEvidence(oom_kills=0))
    assert seen.cause is not None
    assert (seen.cause.signature, "sent SIGKILL" in seen.cause.text) == ("", True)
    crashed = WORKER.replace("Killed", "Segmentation fault")
    assert found(subject_of(crashed), NodeEvidence(oom_kills=0)).cause is None
