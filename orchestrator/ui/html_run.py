"""A run, its status and its result as HTML, for a notebook.

Times are those of the clock, not ages: a saved notebook is read later.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator import events
from orchestrator.api.result import Result
from orchestrator.api.status import RunStatus
from orchestrator.ui import messages, verdict
from orchestrator.ui.html import (
    BAD,
    DIM,
    GOOD,
    WARNING,
    Content,
    Html,
    block,
    bold,
    code,
    details,
    document,
    fragment,
    line,
    table,
    text,
)
from orchestrator.ui.status import node_causes, rank_rows
from orchestrator.ui.terminal import printable
from orchestrator.util.durations import lifetime
from orchestrator.util.text import counted

_LOOKS = {"31": BAD, "32": GOOD, "33": WARNING, "2": DIM}
_STATES = {
    "starting": DIM,
    "running": GOOD,
    "succeeded": GOOD,
    "stopping": WARNING,
    "stalled": WARNING,
    "stopped": WARNING,
}
_COLUMNS = {0: "NODE", 1: "RANK", 2: "STATE", 3: "EXIT", 5: "LOGS", 7: "LAST LINE"}  # of rank_rows
_MAX_ROWS = 24


def result_html(result: Result) -> str:
    """Return how a run ended, and why it failed."""
    head = _head(result.run, result.outcome, result.exit_code)
    took = text(f" · took {lifetime(result.seconds)}", DIM)
    return document(line(*head, took), line(result.summary), _explained(result.verdict))


def result_text(result: Result) -> str:
    """Return the same as text."""
    code = f" with exit code {result.exit_code}" if result.exit_code else ""
    lines = [
        f"run {result.run}: {result.outcome}{code} after {lifetime(result.seconds)}",
        f"{messages.INDENT}{printable(result.summary)}",
    ]
    if result.verdict is not None:
        rows = verdict.explained(result.verdict, verdict.DEFAULT_WIDTH)
        lines += ["".join(printable(part) for part, _ in row).rstrip() for row in rows]
    return "\n".join(lines)


def status_html(status: RunStatus, *more: Content) -> str:
    """Return a run with its nodes and ranks; `more` stands below them."""
    ranks = sum(len(node.ranks) for node in status.nodes)
    extent = f"{counted(len(status.nodes), 'node')}, {counted(ranks, 'rank')}, {status.launcher}"
    when = f"started {clock_time(status.began)}"
    if status.ended is not None:
        when += f", took {lifetime(status.ended - status.began)}"
    rows = rank_rows(status, status.ended or time.time(), _MAX_ROWS)
    return document(
        line(
            *_head(status.run, status.state, status.exit_code), text(f" · {extent} · {when}", DIM)
        ),
        line(status.summary) if status.summary else "",
        *(line(text(cause, WARNING)) for cause in node_causes(status.nodes)),
        table(
            list(_COLUMNS.values()),
            [[text(row[at][0], _LOOKS.get(row[at][1], "")) for at in _COLUMNS] for row in rows],
        ),
        _explained(status.verdict),
        _attempts(status),
        _files(status),
        *more,
    )


def clock_time(seconds: float) -> str:
    """Return a time since the epoch as `2026-12-01 12:29:18`, by this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _head(run: str, state: str, exit_code: int | None) -> Sequence[Content]:
    shown = state if not exit_code else f"{state}, exit code {exit_code}"
    return (bold(f"run {run}"), ": ", bold(text(shown, _STATES.get(state, BAD))))


def _explained(why: events.Explained | None) -> Html:
    """Return why a run failed, with the last lines of what failed first."""
    if why is None:
        return Html("")
    rows = [
        (label, text(item, _LOOKS.get(style, "")))
        for label, item, style in verdict.items(why)
        if item
    ]
    lines = block(why.lines) if why.lines else ""
    return fragment(table((), [*rows, ("more", code(why.command))]), lines)


def _attempts(status: RunStatus) -> Content:
    if not status.failed:
        return ""
    rows = [
        (str(attempt.number), lifetime(attempt.ended - attempt.began), attempt.summary)
        for attempt in status.failed
    ]
    title = f"{counted(len(rows), 'attempt')} before this one"
    return details(title, table(("ATTEMPT", "TOOK", "END"), rows))


def _files(status: RunStatus) -> Content:
    if status.files is None:
        return ""
    where, many, command = messages.files(status.files)
    return line(text(f"files: {where} {many} · ", DIM), code(command))
