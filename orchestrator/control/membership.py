"""Which nodes an elastic run still has, and which ranks wait for nodes that have left.

torchrun continues without them: its agents on the other nodes repeat the rendezvous and restart all ranks.
They do so by themselves after a rank has failed; ranks that wait for one that is gone do not fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from signal import Signals

from orchestrator.control.first_failure import DEAD, NodeState
from orchestrator.control.verdict import FINAL
from orchestrator.plan import Elastic, Plan
from orchestrator.remote.reports import RankReport
from orchestrator.util.signals import signal_name

_KILLED = (128 + Signals.SIGTERM, 128 + Signals.SIGKILL)


class Membership:
    """Tracks the nodes that left an elastic run; `left` maps those already known to the reasons."""

    def __init__(self, plan: Plan, elastic: Elastic, left: Mapping[str, str]) -> None:
        self._plan = plan
        self._elastic = elastic
        self._devices = {node.name: node.devices for node in plan.nodes}
        self.left = dict(left)
        """The reason by node, in the order in which they left."""
        self._failed: set[str] = set()  # nodes with launchers that failed before a stop
        self.is_spent = False
        """Whether ranks wait for lost nodes and no launcher may restart them."""

    def update(self, nodes: Sequence[NodeState]) -> None:
        """Update the nodes that have left or failed, from what they report."""
        for node in nodes:
            launcher = node.status.launcher if node.status is not None else None
            if launcher is not None and not launcher.succeeded and node.stopped_at is None:
                self._failed.add(node.name)
            why = None if self._has_succeeded(node) else _why_left(node)
            if why is not None:
                self.left.setdefault(node.name, why)

    def _has_succeeded(self, node: NodeState) -> bool:
        ends = [rank.end for rank in node.ranks.values() if rank.end is not None]
        return sum(end.succeeded for end in ends) == self._devices[node.name]

    @property
    def why_over(self) -> str | None:
        """Why the other nodes cannot continue, None while they can."""
        number = len(self._plan.nodes) - len(self.left)
        if not self.left:
            return None
        if self._main in self.left:
            return "it was the main node, which the rendezvous needs"
        if number < self._elastic.fewest:
            nodes = "1 node is" if number == 1 else f"{number or 'no'} nodes are"
            return f"{nodes} left, and the job needs {self._elastic.fewest}"
        return "no restarts are left" if self.is_spent else None

    @property
    def is_over(self) -> bool:
        """Whether the run has failed."""
        return self.why_over is not None or self._has_failed

    @property
    def _has_failed(self) -> bool:
        return not self._failed <= self.left.keys()

    def view(self, nodes: Sequence[NodeState]) -> tuple[Plan, list[NodeState]]:
        """Return the plan and the states of the run without the nodes that have left.

        Once the run has failed, they are included, as gone and without ranks, if the other nodes have
        not restarted without them, or cannot. The end of a rank that may restart is left out. If launchers
        fail instead, it is left out only if the rank was killed, as launchers and `_restart_rank` do.
        """
        staying = [self._without_ends(node) for node in nodes if node.name not in self.left]
        shares = tuple(node for node in self._plan.nodes if node.name not in self.left)
        over = self.why_over
        are_missed = over or (
            self._has_failed
            and any(self._misses_some(rank) for node in staying for rank in node.ranks.values())
        )
        # The main node first, since all need it, then the last one that left.
        names = sorted(self.left, key=lambda name: name == self._main)[::-1]
        missed = [
            NodeState(name, {}, None, gone=": ".join(filter(None, (self.left[name], over))))
            for name in (names if are_missed else ())
        ]
        return replace(self._plan, nodes=shares, world_size=self._places), [*missed, *staying]

    def waiting(self, nodes: Sequence[NodeState]) -> list[tuple[NodeState, RankReport]]:
        """Return the live ranks that wait for those of a node that has left."""
        return [
            (node, rank)
            for node in nodes
            if node.name not in self.left
            for rank in node.ranks.values()
            if rank.end is None and self._misses_some(rank)
        ]

    def are_stranded(self, nodes: Sequence[NodeState]) -> bool:
        """Return whether no rank is alive and none can start, because the main node has ended."""
        staying = [node for node in nodes if node.name not in self.left]
        main = next((node for node in staying if node.name == self._main), None)
        if main is None or main.status is None or main.status.state not in FINAL:
            return False
        return all(rank.end is not None for node in staying for rank in node.ranks.values())

    def may_restart(self, rank: RankReport) -> bool:
        """Return whether its launcher may restart the rank."""
        return rank.attempt < self._elastic.restarts

    def _without_ends(self, node: NodeState) -> NodeState:
        """Return the state of a node without the ends of ranks that may restart."""
        over = self.why_over is not None

        def is_ignored(rank: RankReport) -> bool:
            if rank.end is None or rank.end.succeeded or not self.may_restart(rank):
                return False
            return over or not self._has_failed or rank.end.exit_code in _KILLED

        ranks = {
            number: replace(rank, ended=None, end=None) if is_ignored(rank) else rank
            for number, rank in node.ranks.items()
        }
        return replace(node, ranks=ranks)

    def _misses_some(self, rank: RankReport) -> bool:
        """Return whether the rank was started with more ranks than the remaining nodes have."""
        return rank.world_size > self._places

    @property
    def _places(self) -> int:
        return sum(n for name, n in self._devices.items() if name not in self.left)

    @property
    def _main(self) -> str:
        return self._plan.nodes[0].name


def _why_left(node: NodeState) -> str | None:
    """Return why a node is no longer part of the run, None while it is.

    A launcher that ended by itself has not left the run: if it failed, its ranks have used up their
    restarts, and that ends the other nodes too.
    """
    status = node.status
    if node.gone is not None or status is None:
        return node.gone
    if status.stopped is not None:
        return f"stopped: {status.stopped}" if node.has_stopped_unasked else None
    if status.launcher is not None and status.launcher.signal is not None:
        return f"lost its launcher to {signal_name(status.launcher.signal)}"
    return DEAD.get(status.state)
