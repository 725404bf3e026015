"""What is known of a run's nodes and ranks now: a fold over the events of its log."""

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
    """One node: whether it is heard of, and what of the run is there.

    `state` is unknown, running, ended, lost (its ranks have no supervisor), absent, or left (an elastic run
    goes on without it). `unreachable_since` is by the controller's clock; `cause` says why that is, or
    why it has left. `gone` says why a controller has given it up, None while none has.
    """

    name: str
    state: str = "unknown"
    unreachable_since: float | None = None
    cause: str = ""
    left: tuple[int, ...] = ()
    gone: str | None = None


@dataclass
class RunState:
    """All of a run; `ranks` are by node and local rank, the last of each. `stopping` is why its nodes
    were told to stop, None if they were not, and `stalled` what keeps it from getting on, None while it
    does. `uneven` are files that some nodes only had when it began. `files` are what it had written when it
    ended, None where nothing, or nobody said.
    """

    nodes: dict[str, NodeCondition] = field(default_factory=dict)
    ranks: dict[tuple[str, int], RankState] = field(default_factory=dict)
    stopping: Stop | None = None
    stalled: events.Stalled | None = None
    files: events.FilesWritten | None = None
    warnings: list[str] = field(default_factory=list)
    uneven: list[events.Uneven] = field(default_factory=list)
    _told: dict[tuple[str, int], RankState] = field(default_factory=dict)  # by node and rank

    def take(self, logged: LoggedEvent) -> None:
        """Take in one event."""
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
                self._ended(event)
            case events.Stopping():
                self.stopping = event.stop
            case events.Restarting():  # what becomes of nodes and ranks now is told anew
                self.stopping = self.stalled = None
                self.uneven.clear()
                self.nodes.clear()
                self.ranks.clear()
            case events.Stalled():
                self.stalled = event
            case events.Resumed():
                self.stalled = None
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
            began = known  # told again, by another controller
        elif known is None or (known.attempt, known.began) < (began.attempt, began.began):
            self.ranks[place] = began
        self._told[event.node, event.rank] = began

    def _ended(self, event: events.RankEnded) -> None:
        rank = self._told.get((event.node, event.rank))
        if rank is not None:
            rank.ended, rank.code, rank.signal = event.time, event.code, event.signal


def replay(log: Iterable[LoggedEvent]) -> RunState:
    """Return the state after all of `log`."""
    state = RunState()
    for logged in log:
        state.take(logged)
    return state


def state_of(folder: Path) -> RunState:
    """Return the state after all that the log in a run's folder has. Raises OrchError."""
    return replay(EventReader(folder / EVENTS).read())
