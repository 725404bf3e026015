"""A report of the preflight as HTML, for a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.preflight.fixes import PROBLEMS, Fix, fixes_of
from orchestrator.preflight.messages import remedy, who
from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.report import Report
from orchestrator.ui.html import (
    BAD,
    DIM,
    GOOD,
    WARNING,
    Content,
    Html,
    block,
    bold,
    details,
    document,
    fragment,
    line,
    table,
    text,
)
from orchestrator.util.text import counted

_LOOKS = {
    Status.PASS: GOOD,
    Status.SKIP: DIM,
    Status.WARN: WARNING,
    Status.INCOMPLETE: WARNING,
    Status.FAIL: BAD,
}
_TITLES = ("STATUS", "CHECK", "NODES", "FINDING")


def report_html(report: Report) -> str:
    """Return the counts, what failed or warned, how to fix it, and folded, everything else."""
    fixes = sorted(fixes_of(report, *PROBLEMS), key=lambda fix: -fix.status.badness)
    rest = [status for status in Status if status not in PROBLEMS]
    others = list(_rows(report, rest))
    return document(
        _summary(report),
        table(_TITLES, _rows(report, PROBLEMS)),
        *(_fix(report.context, fix) for fix in fixes if fix.text is not None),
        details(f"{counted(len(others), 'other finding')}", table(_TITLES, others))
        if others
        else "",
    )


def _summary(report: Report) -> Html:
    counts = Counter(result.status for result in report.results)
    order = sorted(counts, key=lambda status: -status.badness)
    shown = [text(f"{counts[status]} {status}", _LOOKS[status]) for status in order]
    parts: list[Content] = [bold(f"preflight, {report.context.level}: ")]
    for number, each in enumerate(shown):
        parts += [", ", each] if number else [each]
    return line(*parts if shown else ("no checks",))


def _rows(report: Report, statuses: Sequence[Status]) -> Iterator[tuple[Content, ...]]:
    for check, finding in report.having(*statuses):
        yield (
            text(finding.status, _LOOKS[finding.status]),
            check.id,
            who(report.context, finding.nodes),
            finding.message,
        )


def _fix(context: Context, fix: Fix) -> Html:
    sentence, *commands = remedy(context, fix)
    shown = [command.removeprefix("      ") for command in commands]
    what = line(bold("fix "), f"{', '.join(fix.ids)}: {sentence}")
    return fragment(what, block(shown)) if shown else what
