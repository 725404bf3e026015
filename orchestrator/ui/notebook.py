"""What a notebook shows: the HTML of each value that has one, and a run in its cell.

The library reaches this module through `util/frontend.py`.
"""

from __future__ import annotations

import reprlib
import time
from collections.abc import Callable
from typing import Any

from orchestrator.api.job_handle import Job
from orchestrator.api.result import Result
from orchestrator.api.results import Results
from orchestrator.api.run import Run
from orchestrator.api.status import RunStatus, known_status
from orchestrator.diagnose import Diagnosis
from orchestrator.errors import OrchError
from orchestrator.preflight.report import Report
from orchestrator.ui import preflight, status
from orchestrator.ui.cell import CellDisplay, in_kernel, publisher
from orchestrator.ui.html import bold, document, line, table
from orchestrator.ui.html_diagnosis import diagnosis_html, diagnosis_text
from orchestrator.ui.html_preflight import report_html
from orchestrator.ui.html_run import result_html, result_text, status_html
from orchestrator.util.text import counted

_MAX_RANKS = 32
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 300


def _run_html(run: Run) -> str | None:
    """Return the run as this machine knows it, without asking its nodes; None if it was removed."""
    try:
        known = known_status(run.folder)
        return None if known is None else status_html(known)
    except (OrchError, OSError):  # its repr is shown, which needs no file
        return None


def _results_html(results: Results[Any]) -> str:
    """Return the values of the first ranks, shortened."""
    ranks = results.ranks
    rows = [
        (f"r{rank}", results.node_of(rank), _short(results, rank)) for rank in ranks[:_MAX_RANKS]
    ]
    left = len(ranks) - len(rows)
    return document(
        line(bold(f"run {results.run}"), f": results of {counted(len(ranks), 'rank')}"),
        table(("RANK", "NODE", "RESULT"), rows),
        line(f"and {counted(left, 'more rank')}") if left else "",
    )


def _short(results: Results[Any], rank: int) -> str:
    try:
        return _REPR.repr(results.rank(rank))
    except OrchError as error:
        return str(error)


_RENDERERS: dict[type, Callable[[Any], str | None]] = {
    Diagnosis: diagnosis_html,
    Report: report_html,
    Result: result_html,
    Run: _run_html,
    Job: lambda job: _run_html(job.run),
    Results: _results_html,
    RunStatus: status_html,
}


def html(value: object) -> str | None:
    """Return the HTML of a value, None if it has none now."""
    for kind in type(value).__mro__:
        if kind in _RENDERERS:
            return _RENDERERS[kind](value)
    return None


def text(value: object) -> str | None:
    """Return a value as text of a few lines, None if its `repr` is short."""
    match value:
        case Report():
            return "\n".join(preflight.plain(value, None))
        case RunStatus():
            return "\n".join(status.lines(value, time.time()))
        case Result():
            return result_text(value)
        case Diagnosis():
            return diagnosis_text(value)
    return None


def cell_display() -> CellDisplay | None:
    """Return what shows a run in the current cell, None if this is no notebook's kernel."""
    return CellDisplay(publisher()) if in_kernel() else None
