"""Show a preflight report: the problems and their fixes, everything, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from orchestrator.preflight.fixes import PROBLEMS, fixes_of
from orchestrator.preflight.messages import remedy, summary, who
from orchestrator.preflight.model import Finding
from orchestrator.preflight.pairwise import Values, pairwise
from orchestrator.preflight.report import Report
from orchestrator.ui.table import stdout_size, write, write_json
from orchestrator.util.text import one_line

_MIN_SCREEN_WIDTH = 72  # columns of a terminal that has room for the table
_MAX_NODES_WIDTH = 24  # of the nodes in a line for a pipe; a longer list widens its own line


def show(
    report: Report, seconds: float, output: Literal["text", "json"], *, verbose: bool = False
) -> None:
    """Write the report to stdout; `verbose` includes what passed and what was skipped."""
    if output == "json":
        write_json(as_json(report, seconds))
    elif (width := stdout_size()[0] or 0) >= _MIN_SCREEN_WIDTH:
        from orchestrator.ui.preflight_screen import screen

        write([screen(report, seconds, width, verbose=verbose).removesuffix("\n")])
    else:
        write(list(plain(report, seconds, verbose=verbose)))


def as_json(report: Report, seconds: float) -> dict[str, Any]:
    """Return the report as one JSON object, an entry of `checks` for each finding."""
    return {
        "status": report.status,
        "level": report.context.level,
        "seconds": round(seconds, 3),
        "checks": [
            {
                "id": result.check.id,
                "group": result.check.group.value,
                "status": finding.status,
                "nodes": list(finding.nodes),
                "message": finding.message,
                "remedy": _remedy(finding),
                "data": _finite(finding.data),
            }
            for result in report.results
            for finding in result.findings
        ],
        "pictures": {
            quantity.key: _nested(values) for quantity, values in pairwise(report.context).items()
        },
    }


def _remedy(finding: Finding) -> dict[str, Any] | None:
    remedy = finding.remedy
    if remedy is None:
        return None
    return {
        "text": remedy.text,
        "commands": list(remedy.commands),
        "nodes": list(finding.remedy_nodes),
        "as_root": remedy.as_root,
    }


def _nested(values: Values) -> dict[str, dict[str, float]]:
    """Return {from: {to: value}}."""
    nested: dict[str, dict[str, float]] = {}
    for (source, target), value in values.items():
        nested.setdefault(source, {})[target] = value
    return nested


def plain(report: Report, seconds: float | None, *, verbose: bool = False) -> Iterator[str]:
    """Yield a line for each finding, in columns, then the fixes, then the summary.

    Unless `verbose`, findings that need no action are left out.
    """
    context = report.context
    rows = [
        (finding.status, result.check.id, who(context, finding.nodes), one_line(finding.message))
        for result in report.results
        for finding in result.findings
        if verbose or finding.status in PROBLEMS
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    widths[2] = min(widths[2], _MAX_NODES_WIDTH)
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        yield "  ".join(cells).rstrip()
    for fix in sorted(fixes_of(report, *PROBLEMS), key=lambda fix: fix.status.badness):
        if fix.text is not None:
            sentence, *rest = remedy(context, fix)
            yield f"→ {', '.join(fix.ids)}: {sentence}"
            yield from rest
    yield summary(report, seconds, verbose=verbose)


def _finite(value: Any) -> Any:
    """Return `value` with None for NaN and infinity, which a node may send and JSON does not have."""
    return json.loads(json.dumps(value, default=str), parse_constant=lambda constant: None)
