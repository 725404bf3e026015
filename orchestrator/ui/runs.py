"""Show the runs on this machine: a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from orchestrator.api.status import RunList, RunSummary
from orchestrator.ui.stderr import Stderr
from orchestrator.ui.table import Cell, Column, stdout_size, table, write, write_json
from orchestrator.ui.terminal import wants_colour
from orchestrator.util.durations import age, lifetime
from orchestrator.util.text import counted, first_line, format_size

_STYLES = {
    "starting": "36", "running": "32", "stopping": "33", "stalled": "33",
    "failed": "31", "lost": "31", "stopped": "33",
}  # fmt: skip
_SUMMARY_WIDTH = 120  # columns of a terminal that has room for summaries


def show_list(found: RunList, output: Literal["text", "json", "names"]) -> None:
    """Write the runs to stdout, and what is left out of the list to stderr."""
    say = Stderr().line
    if not found.runs and output != "json":
        say("there is no run yet: orch launch SCRIPT starts one")
    else:
        show(found.runs, output)
    if found.untrusted:
        first, *others = found.untrusted
        say(
            f"{counted(len(found.untrusted), 'run')} left out: {first.path} {first.why}"
            + (f", and {len(others)} more" if others else ""),
            "yellow",
        )
    if found.unreadable:
        say(
            f"{counted(len(found.unreadable), 'folder')} without a readable record; "
            "orch runs --prune removes those older than a day",
            "yellow",
        )


def show(rows: Sequence[RunSummary], output: Literal["text", "json", "names"]) -> None:
    """Write the runs to stdout, in this order."""
    if output == "names":
        write([row.run for row in rows])
    elif output == "json":
        write_json([asdict(row) for row in rows])
    else:
        write(lines(rows, stdout_size()[0], colour=wants_colour(1)))


def lines(
    rows: Sequence[RunSummary], width: int | None = None, *, colour: bool = False
) -> list[str]:
    """Return a heading and a line for each run, for a terminal of `width` columns (None: a pipe)."""
    summaries = [(first_line(row.summary), "2") for row in rows]
    hides_summaries = width is not None and width < _SUMMARY_WIDTH
    return table(
        [
            Column("RUN", [(row.run, "") for row in rows]),
            Column("STATE", [_state(row) for row in rows]),
            Column("EXIT", [_exit(row) for row in rows], is_number=True),
            Column("AGE", [(age(row.age_seconds), "") for row in rows], is_number=True),
            Column("TOOK", [_took(row) for row in rows], 6, is_number=True),
            Column("NODES", [(str(row.nodes), "") for row in rows], 5, is_number=True),
            Column("RANKS", [(str(row.ranks), "") for row in rows], 4, is_number=True),
            Column("LAUNCHER", [(row.launcher, "") for row in rows], 3),
            Column("LOGS", [(format_size(row.bytes), "") for row in rows], 2, is_number=True),
            Column("SCRIPT", [(row.script, "") for row in rows]),
            Column("SUMMARY", summaries, 1 if hides_summaries else 0),
        ],
        width,
        colour=colour,
    )


def _state(row: RunSummary) -> Cell:
    if row.took_seconds is None and row.controller is None:
        return (f"{row.state} (no controller)", "33")
    return (row.state, _STYLES.get(row.state, "2"))


def _took(row: RunSummary) -> Cell:
    return ("-", "2") if row.took_seconds is None else (lifetime(row.took_seconds), "")


def _exit(row: RunSummary) -> Cell:
    if row.exit_code is None:
        return ("-", "2")
    return (str(row.exit_code), "31" if row.exit_code else "32")
