"""What is shown of a draw: a line of each, and all that helps to look into one that went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from .causes import attempts, causes
from .evidence import Evidence

_TAIL = 1500


def one_line(evidence: Evidence, seconds: float) -> str:
    """Return what was drawn, and how it ended."""
    record = evidence.record
    launch = evidence.command("launch")
    if record is not None:
        verdict = f"{record['state']} {record['exit_code']}: {record['summary']}"
    else:
        verdict = f"no run: {launch.code if launch is not None else None}"
    struck = sum(hit.fault in evidence.draw.faults for hit in evidence.strikes)
    return f"{evidence.draw} | {struck} struck | {verdict} | {seconds:.1f} s"


def report(evidence: Evidence, line: str, objections: Sequence[str]) -> str:
    """Return the objections, and everything that they rest on."""
    return "\n".join([line, *(f"  OBJECTION {text}" for text in objections), *_details(evidence)])


def _details(evidence: Evidence) -> Iterator[str]:
    seed = evidence.draw.seed
    yield f"again: ORCH_SOAK=1 ORCH_SOAK_FIRST={seed} pytest tests/lab/soak/test_soak.py"
    yield "-- what happened, in seconds since the launch"
    happened: list[tuple[float, str]] = []
    for life in evidence.lives:
        who = f"rank {life.rank} attempt {life.attempt} on {life.node}"
        happened.append((life.started, f"{who} starts"))
        if life.terminated_at is not None:
            happened.append((life.terminated_at, f"{who} gets SIGTERM"))
        way = "has no more to say" if life.how is None else f"leaves: {life.how} {life.code}"
        happened.append((life.last, f"{who} {way}, {life.wrote + 1} steps"))
    for hit in evidence.strikes:
        happened.append((hit.at, f"STRIKE {hit}"))
        if hit.until > hit.at:
            happened.append((hit.until, f"OVER {hit}"))
    for attempt in attempts(evidence):
        happened.append((attempt.ended, f"attempt {attempt.number} ends: {attempt.summary}"))
    yield from (f"{at - evidence.launched:8.3f} {what}" for at, what in sorted(happened))
    yield "-- what may have ended it"
    for attempt in attempts(evidence):
        for cause in causes(evidence, attempt):
            span = f"{cause.at - evidence.launched:.2f}..{cause.until - evidence.launched:.2f}"
            yield f"attempt {attempt.number}: {span} {cause}"
    if evidence.record is not None:
        hidden = ("plan", "settings", "spec", "verdict")
        shown = {key: value for key, value in evidence.record.items() if key not in hidden}
        yield f"-- run.json: {json.dumps(shown)}"
    for command in evidence.commands:
        yield f"-- orch {command.name}: {command.code}{'' if command.is_over else ' (killed)'}"
        yield command.err[-_TAIL:]
    for name, text in evidence.notes.items():
        yield f"-- {name}: {text[-_TAIL:]}"
