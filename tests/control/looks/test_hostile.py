"""Hostile nodes: with any answer, no look raises or takes long, and no command has the node's text."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.control.looks.model import Known, Subject
from orchestrator.control.looks.registry import LOOKS, look, parse_answers, questions, with_finding
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.diagnose import SIGNATURES
from orchestrator.preflight.model import NoAnswer
from orchestrator.util.answers import PARSE_ERRORS
from tests.preflight.test_hostile import INJECTIONS, MARK, NONSENSE, leaves, with_

from . import test_gpus, test_holders, test_limits, test_places
from .subjects import place, subject_of

FULL = place("/data/out/model.pt", mount="/data", free=0)
GONE = place(
    "/share", mount="/share", kind="nfs4", problem={"errno": 116, "text": "Stale"}, free=None
)
SUBJECTS: dict[str, tuple[Subject, dict[str, Any]]] = {
    "full": (subject_of(test_places.ENOSPC), {"places": [FULL, GONE]}),
    "gone": (subject_of("OSError: [Errno 116] Stale file handle\n"), {"places": [GONE]}),
    "read-only": (
        subject_of("OSError: [Errno 30] Read-only file system: '/x'\n"),
        {"places": [place("/x", read_only=True)]},
    ),
    "port": (
        subject_of(test_holders.IN_USE),
        {"holders.ports": test_holders.held(run="train-lusab")},
    ),
    "lock": (
        subject_of(test_holders.TIMEOUT),
        {"holders.files": test_holders.file(), "places": [place("/c/a b.lock")]},
    ),
    "files": (subject_of(test_limits.FILES), {"setting.limits": test_limits.limits()}),
    "threads": (
        subject_of(test_limits.THREADS),
        {
            "setting.limits": test_limits.limits(
                group={"path": "/b", "limit": 2, "used": 2}, refused=1
            )
        },
    ),
    "clock": (subject_of(test_limits.LATE), {"setting.clock": {"step": 100.0}}),
    "gpu": (
        subject_of(test_gpus.FULL.format(0)),
        {"gpu": test_gpus.smi({0: [test_gpus.process(run="train-lusab")]})},
    ),
    "xid": (subject_of(test_gpus.ILLEGAL), {"kernel_log.xids": test_gpus.log(31, 79)}),
}


def assert_harmless(subject: Subject, answers: dict[str, Any]) -> None:
    """Assert that whatever a node answers can be shown, and that no command to paste runs it."""
    raw = {name: {"ok": answer} for name, answer in answers.items()}
    began = time.monotonic()
    parsed = parse_answers(questions(subject), raw)
    seen = look(subject, Known(NodeEvidence(answers=parsed)))
    hit = with_finding(subject.hit, seen)
    assert time.monotonic() - began < 2.0
    assert len(seen.looked) <= 16
    for text in (*seen.looked, hit.cause, hit.fix):
        assert text.isprintable()
        assert len(text) <= 600
    assert MARK not in hit.fix.replace(f"orch stop {MARK}", "")  # that is the name of a run


@pytest.mark.parametrize("name", SUBJECTS)
def test_any_value_in_place_of_another_is_harmless(name: str) -> None:
    subject, answers = SUBJECTS[name]
    for path in list(leaves(answers))[:120]:
        for value in (*NONSENSE, *INJECTIONS):
            if path:  # the whole answer is not the node's, but of `check`
                assert_harmless(subject, with_(answers, path, value))


@pytest.mark.parametrize("raw", [None, 7, [], "x", {"places": 3}, {"places": {"error": "\x1b[2J"}}])
def test_answer_that_is_none_leaves_the_cause_alone(raw: Any) -> None:
    subject = subject_of(test_places.ENOSPC)
    parsed = parse_answers(questions(subject), raw)
    assert isinstance(parsed["places"], NoAnswer)
    seen = look(subject, Known(NodeEvidence(answers=parsed)))
    assert seen.cause is None
    assert all(text.isprintable() for text in seen.looked)


@pytest.mark.parametrize("key", ["source", "counter", "group", "kernel", "why", "oom_kills"])
def test_evidence_of_a_hostile_node_is_refused_or_harmless(key: str) -> None:
    sound: dict[str, Any] = {
        "error_file": None, "oom_kills": 1, "kernel": ["a"], "why": None, "full": [], "file_limit": None,
        "source": "kmsg", "counter": "/sys/x", "group": {"path": "/b", "limit": 5, "used": 1},
    }  # fmt: skip
    for value in (*NONSENSE, *INJECTIONS):
        try:
            evidence = NodeEvidence.parse({**sound, key: value})
        except PARSE_ERRORS:
            continue
        seen = look(subject_of("", -9), Known(evidence))
        assert all(text.isprintable() for text in seen.looked)


def test_every_look_that_a_signature_asks_for_exists() -> None:
    asked = {name for signature in SIGNATURES for name in signature.asks}
    assert asked == set(LOOKS)
