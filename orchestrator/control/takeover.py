"""Distinguish what happened before a controller took over a run from what happened since."""

from __future__ import annotations

from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.verdict import FINAL
from orchestrator.remote.reports import RankReport, StatusReport


class TakeoverHistory:
    """Records the first state of each node and rank; pass every change to `observe`.

    `restarts_itself`: the launcher restarts failed ranks, so that only its own end is a failure.
    """

    def __init__(self, *, restarts_itself: bool) -> None:
        self._restarts_itself = restarts_itself
        self._statuses: dict[str, StatusReport] = {}
        self._ranks: dict[tuple[str, int], RankReport] = {}

    def observe(self, node: NodeState) -> None:
        """Record the current state of a node."""
        if node.status is not None:
            self._statuses.setdefault(node.name, node.status)
        for rank in node.ranks.values():
            self._ranks.setdefault((node.name, rank.rank), rank)

    def saw(self, failure: FirstFailure) -> bool:
        """Return whether what failed was alive when it was first observed."""
        status = self._statuses.get(failure.node)
        if status is None or status.state in FINAL:
            return False
        if failure.rank is None or self._restarts_itself:
            return failure.end is None or status.launcher is None
        rank = self._ranks.get((failure.node, failure.rank))
        return rank is not None and rank.end is None
