"""Show the runs that this machine knows of: a table for people and pipes, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.ui import words
from orchestrator.ui.status import ControllerRow
from orchestrator.ui.table import Cell, Column, stdout_size, table, write
from orchestrator.ui.terminal import wants_colour

_STYLES = {
    "starting": "36", "running": "32", "stopping": "33", "stalled": "33", "failed": "31",
}  # fmt: skip
_OVER = ("ended", "failed")
_WIDE = 120  # columns of a terminal that has room for summaries


@dataclass(frozen=True)
class RunRow:
    """One run. `state` is starting, running, stopping, stalled, ended, or failed (it could not be
    started), and `summary` why. `began` is seconds since the epoch, `age_seconds` how long that is ago;
    `exit_code` is None until there is one; `bytes` is the size of its logs on this machine. A run that
    goes on has a `controller`, unless that died.
    """

    run: str
    state: str
    nodes: int
    ranks: int
    launcher: str
    began: float
    age_seconds: float
    script: str
    exit_code: int | None
    bytes: int
    summary: str
    controller: ControllerRow | None


def show(rows: Sequence[RunRow], output: Literal["text", "json", "names"]) -> None:
    """Write the runs to stdout, in the order given."""
    if output == "names":
        write([row.run for row in rows])
    elif output == "json":
        write([json.dumps([describe(row) for row in rows], indent=2)])
    else:
        write(lines(rows, stdout_size()[0], colour=wants_colour(1)))


def describe(row: RunRow) -> dict[str, Any]:
    """Return a run as a JSON object; it always has the same keys."""
    return asdict(row)


def lines(rows: Sequence[RunRow], width: int | None = None, *, colour: bool = False) -> list[str]:
    """Return a heading and a line for each run, in a terminal of `width` columns (None: in a pipe)."""
    summaries = [(row.summary.split("\n", 1)[0], "2") for row in rows]
    return table(
        [
            Column("RUN", [(row.run, "") for row in rows]),
            Column("STATE", [_state(row) for row in rows]),
            Column("EXIT", [_exit(row) for row in rows], is_number=True),
            Column("AGE", [(words.age(row.age_seconds), "") for row in rows], is_number=True),
            Column("NODES", [(str(row.nodes), "") for row in rows], 5, is_number=True),
            Column("RANKS", [(str(row.ranks), "") for row in rows], 4, is_number=True),
            Column("LAUNCHER", [(row.launcher, "") for row in rows], 3),
            Column("LOGS", [(words.size(row.bytes), "") for row in rows], 2, is_number=True),
            Column("SCRIPT", [(row.script, "") for row in rows]),
            Column("SUMMARY", summaries, 0 if width is None or width >= _WIDE else 1),
        ],
        width,
        colour=colour,
    )


def _state(row: RunRow) -> Cell:
    if row.state not in _OVER and row.controller is None:
        return (f"{row.state} (no controller)", "33")
    return (row.state, _STYLES.get(row.state, "2"))


def _exit(row: RunRow) -> Cell:
    if row.exit_code is None:
        return ("-", "2")
    return (str(row.exit_code), "31" if row.exit_code else "32")
