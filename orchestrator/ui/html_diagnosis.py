"""A diagnosis as HTML, for a notebook."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.diagnose.model import Certainty, Diagnosis, Hit
from orchestrator.diagnose.signature import Kind
from orchestrator.diagnose.text import affected, location, raised_at
from orchestrator.ui.html import (
    BAD,
    DIM,
    GOOD,
    WARNING,
    Content,
    Html,
    bold,
    details,
    document,
    line,
    table,
    text,
)
from orchestrator.ui.terminal import printable

_MAX_OTHERS = 20
_MAX_LEADS = 5


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """Return the most likely cause in full, and the other findings in a line each."""
    best = diagnosis.best
    if best is None:
        leads = [[location(lead), lead.text] for lead in diagnosis.leads[:_MAX_LEADS]]
        found = line("the last lines that look like errors:") if leads else ""
        return document(line("no known problem found"), found, table((), leads))
    others = [hit for hit in diagnosis.hits if hit is not best and hit.kind is not Kind.NOISE]
    shown: Content = ""
    if others:
        rows = [[hit.kind.name.lower(), affected(hit), hit.meaning] for hit in others[:_MAX_OTHERS]]
        shown = details(f"{len(others)} more found", table((), rows))
    return document(
        _heading(best),
        table((), [(label, text(item, look)) for label, item, look in _items(best)]),
        shown,
    )


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Return the most likely cause as text."""
    best = diagnosis.best
    if best is None:
        return "\n".join(
            ["no known problem found", *(printable(each.text) for each in diagnosis.leads)]
        )
    rows = (f"  {label + ':':<7} {printable(text)}" for label, text, _ in _items(best))
    return "\n".join([printable(f"{best.meaning}{_doubt(best)} · {affected(best)}"), *rows])


def _heading(hit: Hit) -> Html:
    look = BAD if hit.kind is Kind.ROOT else WARNING
    return line(bold(text(hit.meaning + _doubt(hit), look)), f" · {affected(hit)}")


def _doubt(hit: Hit) -> str:
    is_unsure = hit.kind is Kind.ROOT and hit.certainty is not Certainty.CERTAIN
    return " (likely)" if is_unsure else ""


def _items(hit: Hit) -> Iterator[tuple[str, str, str]]:
    """Yield label, text and look of each line."""
    first = hit.first
    yield "seen", first.text, ""
    raised = raised_at(hit.error) if hit.error is not None else None
    yield "in", ", raised at ".join(filter(None, (location(first), raised))), DIM
    if hit.cause:
        yield "cause", hit.cause, ""
    if hit.fix:
        yield "fix", hit.fix, GOOD
    if hit.orch_fix is not None:
        yield "orch", hit.orch_fix, GOOD
    if hit.signature.check is not None:
        yield "check", f"orch preflight --only {hit.signature.check}", ""
