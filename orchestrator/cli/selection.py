"""Which run is meant by RUN, for commands that act on one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.plan.masking import masked_words
from orchestrator.runs.registry import LATEST, active_runs, find_run
from orchestrator.runs.saved_run import SavedRun

_LISTED = 8  # runs


def active_run(name: str | None, command: str) -> SavedRun:
    """Return the run that `command`, which acts on runs, means by RUN: of those that `name` may mean
    (None: of all) the one that is active, and where none is, what `find_run` returns.

    Raises UsageError that lists them where several are active, and as `find_run` does.
    """
    if name == LATEST:
        return find_run(name)
    active = active_runs(name)
    if not active:
        return find_run(name)
    if len(active) == 1:
        return active[0]
    raise UsageError(
        "\n".join([f"{len(active)} runs are active; name one of them:", *_rows(active)]),
        remedy=f"{command} {active[0].run}",
    )


def _rows(runs: Sequence[SavedRun]) -> list[str]:
    """Return a line for each run: its name, its age, its nodes, what it runs."""
    from orchestrator.util.durations import age
    from orchestrator.util.text import counted

    now = time.time()
    rows = [
        (
            saved.run,
            age(now - saved.began),
            counted(len(saved.plan.nodes), "node"),
            " ".join(masked_words(saved.settings.script)),
        )
        for saved in runs[:_LISTED]
    ]
    name, old, nodes = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"    {r:<{name}}  {a:>{old}}  {n:>{nodes}}  {s}"[:100] for r, a, n, s in rows]
    more = len(runs) - len(rows)
    return lines + ([f"    and {more} more (orch runs lists them)"] if more else [])
