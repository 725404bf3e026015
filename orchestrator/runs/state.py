"""The state of a run's nodes and ranks, from the events of its log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import events
from orchestrator.reasons import Stop
from orchestrator.runs.event_log import EventReader, LoggedEvent
from orchestrator.runs.folder import EVENTS


@dataclass
class RankState:
    """One rank: its process, and how it ended. Times are the node's, since the epoch."""

    rank: int
    local_rank: int
    node: str
    attempt: int
    pid: int
    began: float
    ended: float | None = None
    code: int | None = None
    signal: int | None = None


@dataclass
class NodeCondition:
    """One node: its connection, and the state of the run there.

    `state` is unknown, running, ended, lost (its ranks have no supervisor), absent, or left (an elastic run
    continues without it). `unreachable_since` is by the controller's clock; `cause` is why it is
    unreachable or has left. `gone` is why a controller gave it up, None if none has.
    """

    name: str
    state: str = "unknown"
    unreachable_since: float | None = None
    cause: str = ""
    left: tuple[int, ...] = ()
    gone: str | None = None


@dataclass
class RunState:
    """A run; `ranks` has the last rank by node and local rank.

    `stopping` is why its nodes were asked to stop, `stalled` why it makes no progress, None if it does.
    `stragglers` are the ranks that the others wait for now, by their numbers.
    `uneven` are files that only some nodes had when it began, `files` those that it had written when it
    ended, None if there are none or the number is unknown.
    """

    nodes: dict[str, NodeCondition] = field(default_factory=dict)
    ranks: dict[tuple[str, int], RankState] = field(default_factory=dict)
    stopping: Stop | None = None
    stalled: events.Stalled | None = None
    stragglers: dict[tuple[int, ...], events.Straggling] = field(default_factory=dict)
    files: events.FilesWritten | None = None
    warnings: list[str] = field(default_factory=list)
    uneven: list[events.Uneven] = field(default_factory=list)
    _by_rank: dict[tuple[str, int], RankState] = field(default_factory=dict)  # by node and rank

    def apply(self, logged: LoggedEvent) -> None:
        """Update the state by one event."""
        event = logged.event
        match event:
            case events.Following():
                node = self._node(event.node)
                node.unreachable_since = None
                if node.state == "unknown":
                    node.state = "running"
            case events.NodeLost():
                node = self._node(event.node)
                if node.state != "left":
                    node.cause = event.cause
                if node.unreachable_since is None:
                    node.unreachable_since = logged.at
            case events.NodeEnded():
                node = self._node(event.node)
                node.left, node.unreachable_since = event.left, None
                if node.state != "left":
                    node.state = event.state
            case events.NodeGone():
                self._node(event.node).gone = event.why
            case events.NodeLeft():
                node = self._node(event.node)
                node.state, node.cause = "left", event.why
            case events.RankBegan():
                self._began(event)
            case events.RankEnded():
                if rank := self._by_rank.get((event.node, event.rank)):
                    rank.ended, rank.code, rank.signal = event.time, event.code, event.signal
            case events.Stopping():
                self.stopping = event.stop
            case events.Restarting():  # nodes and ranks are reported again
                self.stopping = self.stalled = None
                self.stragglers.clear()
                self.uneven.clear()
                self.nodes.clear()
                self.ranks.clear()
            case events.Stalled():
                self.stalled = event
            case events.Resumed():
                self.stalled = None
            case events.Straggling():
                self.stragglers[event.ranks] = event
            case events.CaughtUp():
                self.stragglers.pop(event.ranks, None)
            case events.FilesWritten():
                self.files = event
            case events.Warned():
                self.warnings.append(event.message)
            case events.Uneven():
                self.uneven.append(event)

    def _node(self, name: str) -> NodeCondition:
        return self.nodes.setdefault(name, NodeCondition(name))

    def _began(self, event: events.RankBegan) -> None:
        began = RankState(
            event.rank, event.local_rank, event.node, event.attempt, event.pid, event.time
        )
        place = (event.node, event.local_rank)
        known = self.ranks.get(place)
        if known is not None and (known.attempt, known.pid) == (began.attempt, began.pid):
            began = known  # repeated by another controller
        elif known is None or (known.attempt, known.began) < (began.attempt, began.began):
            self.ranks[place] = began
        self._by_rank[event.node, event.rank] = began


def replay(log: Iterable[LoggedEvent]) -> RunState:
    """Return the state after all events of `log`."""
    state = RunState()
    for logged in log:
        state.apply(logged)
    return state


def state_of(folder: Path) -> RunState:
    """Return the state after all events in the log of a run's folder. Raises OrchError."""
    return replay(EventReader(folder / EVENTS).read())
