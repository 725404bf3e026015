"""What a controller that took a run over has seen happen, and what had happened before it came: pure."""

from __future__ import annotations

from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.verdict import FINAL
from orchestrator.remote.reports import RankReport, StatusReport


class TakeoverHistory:
    """Remembers what it heard first of each node and rank; `look` has to see every change.

    `restarts_itself` says whether the launcher starts failed ranks again, so that a failure is its end.
    """

    def __init__(self, *, restarts_itself: bool) -> None:
        self._restarts_itself = restarts_itself
        self._statuses: dict[str, StatusReport] = {}
        self._ranks: dict[tuple[str, int], RankReport] = {}

    def look(self, node: NodeState) -> None:
        """Take in what is known of a node now."""
        if node.status is not None:
            self._statuses.setdefault(node.name, node.status)
        for rank in node.ranks.values():
            self._ranks.setdefault((node.name, rank.rank), rank)

    def saw(self, first_failure: FirstFailure) -> bool:
        """Return whether what failed was alive when it was first heard of."""
        status = self._statuses.get(first_failure.node)
        if status is None or status.state in FINAL:
            return False
        if first_failure.rank is None or self._restarts_itself:
            return first_failure.end is None or status.launcher is None
        rank = self._ranks.get((first_failure.node, first_failure.rank))
        return rank is not None and rank.end is None
