"""Ranks that failed, and answers of their nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.control.looks.model import Finding, Known, Subject
from orchestrator.control.looks.registry import look, parse_answers, questions
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.diagnose import Evidence, Exit, Source, diagnose
from orchestrator.remote.reports import ProcessEnd
from tests.runs.helpers import plan_of, rank


def subject_of(text: str, code: int = 1, **more: Any) -> Subject:
    """Return rank 0 of three on n0, process 100, which printed `text` and ended with `code`."""
    source = Source("stderr", 0, "n0")
    exits = Evidence(exits=(Exit(0, code, "n0", 100),))
    hit = diagnose([(source, [text.encode()])], exits).best
    assert hit is not None
    plan = plan_of(2, 1)
    end = ProcessEnd(None, -code) if code < 0 else ProcessEnd(code, None)
    subject = Subject(
        run=plan.run,
        node=plan.nodes[0],
        main_port=29500,
        rank=rank(0, end),
        hit=hit,
        lines=tuple(text.splitlines()[-10:]),
        ranks={100: 0, 101: 1},
        skews={"n0": 0.0, "n1": 0.1},
    )
    return replace(subject, **more)


def found(subject: Subject, evidence: NodeEvidence | None = None, **answers: Any) -> Finding:
    """Return what the looks find if the node's probes, with `_` in place of `.`, answer so."""
    names = {name.replace(".", "_"): name for name in questions(subject)}
    raw = {names[name]: {"ok": answer} for name, answer in answers.items()}
    parsed = parse_answers(questions(subject), raw)
    return look(subject, Known(replace(evidence or NodeEvidence(), answers=parsed)))


def place(path: str, **more: Any) -> dict[str, Any]:
    """Return the answer about a path on a sound disk."""
    return {
        "path": path, "at": path, "mount": "/", "kind": "ext4", "source": "/dev/sda1", "read_only": False,
        "size": 10**12, "free": 4 * 10**11, "files": 10**7, "free_files": 9 * 10**6, "problem": None,
        "silent": False, **more,
    }  # fmt: skip


def holder(**more: Any) -> dict[str, Any]:
    """Return the answer about a process of user bob."""
    return {
        "pid": 4711, "user": "bob", "command": "python serve.py", "age": 7300.0, "run": None, "rank": None,
        **more,
    }  # fmt: skip
