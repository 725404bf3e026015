"""Which nodes an elastic run still has, and which ranks wait in vain for those that have left.

torchrun goes on without them: its agents on the other nodes meet again, and start all of their ranks anew.
They do so by themselves where a rank has failed; ranks that only wait for one that is gone do not fail.
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
    """Remembers who has left: of old, those in `left`, with why."""

    def __init__(self, plan: Plan, elastic: Elastic, left: Mapping[str, str]) -> None:
        self._plan = plan
        self._elastic = elastic
        self._devices = {node.name: node.devices for node in plan.nodes}
        self.left = dict(left)
        """Why, by node, in the order in which it was noticed."""
        self._failed: set[str] = set()  # whose launchers have, before they were told to stop
        self.is_spent = False
        """Whether ranks wait in vain, and no launcher may start them again."""

    def look(self, nodes: Sequence[NodeState]) -> None:
        """Take in from what the nodes report which of them have left, and which have failed."""
        for node in nodes:
            launcher = node.status.launcher if node.status is not None else None
            if launcher is not None and not launcher.succeeded and node.stopped_at is None:
                self._failed.add(node.name)
            why = None if self._has_done(node) else _why_left(node)
            if why is not None:
                self.left.setdefault(node.name, why)

    def _has_done(self, node: NodeState) -> bool:
        ends = [rank.end for rank in node.ranks.values() if rank.end is not None]
        return sum(end.succeeded for end in ends) == self._devices[node.name]

    @property
    def why_over(self) -> str | None:
        """Why the others cannot go on, None while they can."""
        number = len(self._plan.nodes) - len(self.left)
        if not self.left:
            return None
        if self._main in self.left:
            return "the nodes met there, and cannot do without it"
        if number < self._elastic.fewest:
            nodes = "1 node is" if number == 1 else f"{number or 'no'} nodes are"
            return f"{nodes} left, and the job needs {self._elastic.fewest}"
        return "no restart is left to the others" if self.is_spent else None

    @property
    def is_over(self) -> bool:
        """Whether the run has failed."""
        return self.why_over is not None or self._has_failed

    @property
    def _has_failed(self) -> bool:
        return not self._failed <= self.left.keys()

    def view(self, nodes: Sequence[NodeState]) -> tuple[Plan, list[NodeState]]:
        """Return the plan and the states of the run without those that have left.

        Their ranks are left out. Once the run has failed they are there by name, as gone, if the others
        missed them: if those have not restarted, or cannot. A rank that may restart has not ended for good.
        Where launchers fail instead, it has, unless it was killed: launchers do that, and `restart_rank`.
        """
        staying = [self._without_ends(node) for node in nodes if node.name not in self.left]
        shares = tuple(node for node in self._plan.nodes if node.name not in self.left)
        over = self.why_over
        are_missed = over or (
            self._has_failed
            and any(self._misses_some(rank) for node in staying for rank in node.ranks.values())
        )
        # Main first, without which nobody can do, and then who has left last.
        names = sorted(self.left, key=lambda name: name == self._main)[::-1]
        missed = [
            NodeState(name, {}, None, gone=": ".join(filter(None, (self.left[name], over))))
            for name in (names if are_missed else ())
        ]
        return replace(self._plan, nodes=shares, world_size=self._places), [*missed, *staying]

    def waiting(self, nodes: Sequence[NodeState]) -> list[tuple[NodeState, RankReport]]:
        """Return the ranks that live, and wait in vain for those of a node that has left."""
        return [
            (node, rank)
            for node in nodes
            if node.name not in self.left
            for rank in node.ranks.values()
            if rank.end is None and self._misses_some(rank)
        ]

    def are_stranded(self, nodes: Sequence[NodeState]) -> bool:
        """Tell whether no rank lives, and none can begin: main has ended, where launchers meet."""
        staying = [node for node in nodes if node.name not in self.left]
        main = next((node for node in staying if node.name == self._main), None)
        if main is None or main.status is None or main.status.state not in FINAL:
            return False
        return all(rank.end is not None for node in staying for rank in node.ranks.values())

    def may_restart(self, rank: RankReport) -> bool:
        """Tell whether its launcher may start the rank another time."""
        return rank.attempt < self._elastic.restarts

    def _without_ends(self, node: NodeState) -> NodeState:
        """Return a node's state without how those of its ranks ended that may begin again."""
        over = self.why_over is not None

        def is_forgiven(rank: RankReport) -> bool:
            if rank.end is None or rank.end.succeeded or not self.may_restart(rank):
                return False
            return over or not self._has_failed or rank.end.exit_code in _KILLED

        ranks = {
            number: replace(rank, ended=None, end=None) if is_forgiven(rank) else rank
            for number, rank in node.ranks.items()
        }
        return replace(node, ranks=ranks)

    def _misses_some(self, rank: RankReport) -> bool:
        """Tell whether more ranks began together with this one than have a place by now."""
        return rank.world_size > self._places

    @property
    def _places(self) -> int:
        return sum(n for name, n in self._devices.items() if name not in self.left)

    @property
    def _main(self) -> str:
        return self._plan.nodes[0].name


def _why_left(node: NodeState) -> str | None:
    """Return why a node has no share in the run any more, None while it has.

    A launcher that ended by itself has not left: where it failed, its ranks did, as often as they may, and
    it ends the others too.
    """
    status = node.status
    if node.gone is not None or status is None:
        return node.gone
    if status.stopped is not None:
        return f"stopped: {status.stopped}" if node.has_stopped_unasked else None
    if status.launcher is not None and status.launcher.signal is not None:
        return f"lost its launcher to {signal_name(status.launcher.signal)}"
    return DEAD.get(status.state)
