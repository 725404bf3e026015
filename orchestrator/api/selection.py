"""Which of a run's output, and which of its nodes: ranks and host range expressions."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.inventory.ranges import expand, fold
from orchestrator.logs.selection import RankSet
from orchestrator.plan import NodePlan, Plan
from orchestrator.util.text import nearest


def rank_set(text: str | None) -> RankSet | None:
    """Return the ranks that `--rank` names. Raises UsageError."""
    if text is None:
        return None
    try:
        return RankSet.parse(text)
    except ValueError as error:
        raise UsageError(f"--rank {text}: {error}") from None


def ranks_of(plan: Plan, text: str | None) -> RankSet | None:
    """Return the ranks that `--rank` names; the run must have one of them. Raises UsageError."""
    ranks = rank_set(text)
    if ranks is not None and not any(first < plan.world_size for first, _ in ranks.ranges):
        last = plan.world_size - 1
        there = f"ranks 0-{last}" if last else "rank 0 alone"
        raise UsageError(f"--rank {text}: run {plan.run} has {there}")
    return ranks


def nodes_of(
    plan: Plan, expression: str | None, former: Sequence[NodePlan] = ()
) -> frozenset[str] | None:
    """Return the nodes that `--nodes` names; the run must have each of them, or have had it: then it is
    one of the `former`. Raises UsageError.
    """
    if expression is None:
        return None
    try:
        names = expand(expression)
    except ValueError as error:
        raise UsageError(f"--nodes {expression!r}: {error}") from None
    there = [node.name for node in (*plan.nodes, *former)]
    unknown = next((name for name in names if name not in there), None)
    if unknown is not None or not names:
        meant = nearest(unknown or "", there)
        raise UsageError(
            f"--nodes {expression}: run {plan.run} has no node {unknown or ''!r}"
            + (f" (did you mean {meant!r}?)" if meant else ""),
            remedy=f"it has {fold(there)}",
        )
    return frozenset(names)
