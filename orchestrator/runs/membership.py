"""Which nodes an elastic run still has, and which ranks wait in vain for those that have left.

torchrun goes on without them: its agents on the other nodes meet again, and start all of their ranks anew.
They do so by themselves where a rank has failed; ranks that only wait for one that is gone do not fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from signal import Signals

from orchestrator.plan import Elastic, Plan
from orchestrator.remote.reports import RankReport
from orchestrator.runs.culprit import DEAD, NodeState

# Ranks of one round begin within moments of each other. The next begins 25 s after a node has left at the
# soonest: torchrun believes 15 s later that it is gone, and then waits 10 s for others.
_ONE_ROUND = 10.0
# Why a supervisor stops of its own accord (`node/supervise.py`).
_BY_ITSELF = ("the supervisor was told to stop", "no controller was heard of")


class Membership:
    """Remembers who has left: of old, those in `left`, with why. `began` has when the last ranks of each
    node began, as far as is known (the controller's clock).
    """

    def __init__(
        self, plan: Plan, elastic: Elastic, began: Mapping[str, float], left: Mapping[str, str]
    ) -> None:
        self._plan = plan
        self._elastic = elastic
        self._devices = {node.name: node.devices for node in plan.nodes}
        self._began = dict(began)
        self.left = dict(left)
        """Why, by node, in the order in which it was noticed."""
        self.is_spent = False
        """Whether ranks wait in vain, and no launcher may start them again."""

    def look(self, nodes: Sequence[NodeState]) -> None:
        """Take in what the nodes report: when their ranks began, and which of them have left."""
        for node in nodes:
            if node.ranks:
                started = max(rank.started for rank in node.ranks.values())
                self._began[node.name] = started - node.clock_skew
            why = None if self._has_done(node) else _why_left(node)
            if why is not None:
                self.left.setdefault(node.name, why)
        # One that left before it could tell: the round that there is may be waiting for it.
        for name in self.left.keys() - self._began.keys():
            if self._began:
                self._began[name] = max(self._began.values())

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

    def view(self, nodes: Sequence[NodeState]) -> tuple[Plan, list[NodeState]]:
        """Return the plan and the states of the run without those that have left.

        Their ranks are forgiven. They are still there by name, as gone, while the others miss them: while
        they have not begun anew, or cannot.
        """
        staying = [node for node in nodes if node.name not in self.left]
        over = self.why_over
        # Main first, without which nobody can do, and then who has left last.
        names = sorted(self.left, key=lambda name: name == self._main)[::-1]
        missed = [
            NodeState(name, {}, None, gone=": ".join(filter(None, (self.left[name], over))))
            for name in names
            if over or any(self._is_waited_for(name, *each) for each in _ranks(staying))
        ]
        shares = tuple(node for node in self._plan.nodes if node.name not in self.left)
        world_size = sum(node.devices for node in shares)
        return replace(self._plan, nodes=shares, world_size=world_size), [*missed, *staying]

    def waiting(self, nodes: Sequence[NodeState]) -> list[tuple[NodeState, RankReport]]:
        """Return the ranks that live, and wait in vain: they began together with those of one that left."""
        staying = [node for node in nodes if node.name not in self.left]
        return [
            (node, rank)
            for node, rank in _ranks(staying)
            if rank.end is None and any(self._is_waited_for(n, node, rank) for n in self.left)
        ]

    def may_begin_again(self, rank: RankReport) -> bool:
        """Tell whether its launcher may start the rank another time."""
        return rank.attempt < self._elastic.restarts

    def _is_waited_for(self, name: str, node: NodeState, rank: RankReport) -> bool:
        began = self._began.get(name)
        return began is not None and abs(rank.started - node.clock_skew - began) < _ONE_ROUND

    @property
    def _main(self) -> str:
        return self._plan.nodes[0].name


def _ranks(nodes: Sequence[NodeState]) -> Iterator[tuple[NodeState, RankReport]]:
    for node in nodes:
        for rank in node.ranks.values():
            yield node, rank


def _why_left(node: NodeState) -> str | None:
    """Return why a node has no share in the run any more, None while it has.

    A launcher that ended by itself has not left: where it failed, its ranks did, as often as they may, and
    it ends the others too.
    """
    status = node.status
    if node.gone is not None or status is None:
        return node.gone
    if status.stopped is not None:
        return f"stopped: {status.stopped}" if status.stopped.startswith(_BY_ITSELF) else None
    if status.launcher is not None and status.launcher.signal is not None:
        return f"lost its launcher to {_name(status.launcher.signal)}"
    return DEAD.get(status.state)


def _name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
