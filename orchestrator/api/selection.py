"""Select a run, its ranks and its nodes by what the user typed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.inventory.ranges import expand, fold
from orchestrator.logs.selection import RankSet
from orchestrator.plan import NodePlan, Plan
from orchestrator.plan.masking import masked_words
from orchestrator.runs.registry import LATEST, active_runs, find_run
from orchestrator.runs.saved_run import SavedRun
from orchestrator.util.durations import age
from orchestrator.util.text import counted, nearest

__all__ = ["active_run", "active_runs", "find_run", "nodes_of", "rank_set", "ranks_of"]

_MAX_LISTED = 8  # runs


def active_run(name: str | None, command: str) -> SavedRun:
    """Return the run that RUN stands for in `command`, which acts on active runs.

    It is the only active run among those that `name` may mean (None: among all); if none is active, what
    `find_run` returns. Raises UsageError with a list if several are active, and as `find` does.
    """
    active = [] if name == LATEST else active_runs(name)
    if not active:
        return find_run(name)
    if len(active) == 1:
        return active[0]
    raise UsageError(
        "\n".join([f"{len(active)} runs are active; name one of them:", *_rows(active)]),
        remedy=f"{command} {active[0].run}",
    )


def _rows(runs: Sequence[SavedRun]) -> list[str]:
    """Return a line for each run: its name, its age, its nodes, its script."""
    now = time.time()
    rows = [
        (
            saved.run,
            age(now - saved.began),
            counted(len(saved.plan.nodes), "node"),
            " ".join(masked_words(saved.settings.script)),
        )
        for saved in runs[:_MAX_LISTED]
    ]
    name, old, nodes = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"    {r:<{name}}  {a:>{old}}  {n:>{nodes}}  {s}"[:100] for r, a, n, s in rows]
    more = len(runs) - len(rows)
    return lines + ([f"    and {more} more (orch runs lists them)"] if more else [])


def rank_set(text: str | None) -> RankSet | None:
    """Return the ranks that `--rank` names. Raises UsageError."""
    if text is None:
        return None
    try:
        return RankSet.parse(text)
    except ValueError as error:
        raise UsageError(f"--rank {text}: {error}") from None


def ranks_of(plan: Plan, text: str | None) -> RankSet | None:
    """Return the ranks that `--rank` names. Raises UsageError if the run has none of them."""
    ranks = rank_set(text)
    if ranks is not None and not any(first < plan.world_size for first, _ in ranks.ranges):
        last = plan.world_size - 1
        has = f"ranks 0-{last}" if last else "rank 0 alone"
        raise UsageError(f"--rank {text}: run {plan.run} has {has}")
    return ranks


def nodes_of(
    plan: Plan, expression: str | None, former: Sequence[NodePlan] = ()
) -> frozenset[str] | None:
    """Return the nodes that `--nodes` names.

    Raises UsageError for one that is neither a node of the run nor one of the `former` nodes.
    """
    if expression is None:
        return None
    try:
        names = expand(expression)
    except ValueError as error:
        raise UsageError(f"--nodes {expression!r}: {error}") from None
    known = [node.name for node in (*plan.nodes, *former)]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None or not names:
        meant = nearest(unknown or "", known)
        raise UsageError(
            f"--nodes {expression}: run {plan.run} has no node {unknown or ''!r}"
            + (f" (did you mean {meant!r}?)" if meant else ""),
            remedy=f"it has {fold(known)}",
        )
    return frozenset(names)
