"""The use case: what became of every node and rank of a run, as this machine knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from orchestrator import events
from orchestrator.logs.index import IndexReader, stored
from orchestrator.logs.last_line import last_line
from orchestrator.logs.stream import Stream
from orchestrator.plan import NodePlan, Plan
from orchestrator.runs.lock import Controller
from orchestrator.runs.saved import Saved
from orchestrator.runs.state import NodeLink, RankState, RunState, state_of

_NEWEST = 20_000  # records of a node's index in which it is looked for when that line came


NodeStateName = Literal["running", "unreachable", "ended", "lost", "absent", "left"]


@dataclass(frozen=True)
class RankStatus:
    """One rank; `pid` is None where it has not begun, `code` and `signal` while it has not ended.

    `bytes` is what it has printed so far, `last_line` the end of that, and `said` when it came, in
    seconds since the epoch by this machine's clock (None: nothing did).
    """

    rank: int
    local_rank: int
    attempt: int
    pid: int | None
    ended: bool
    code: int | None
    signal: int | None
    bytes: int
    last_line: str
    said: float | None


@dataclass(frozen=True)
class NodeStatus:
    """One node: `lost` is one whose supervisor died, `absent` one that has nothing of the run, `left` one
    without which an elastic run goes on. `cause` is why it has left, or cannot be reached.
    """

    name: str
    state: NodeStateName
    unreachable_since: float | None
    cause: str
    ranks: tuple[RankStatus, ...]


@dataclass(frozen=True)
class RunStatus:
    """A run, who minds it now, what keeps it where it does not get on, and its nodes in their order."""

    saved: Saved
    controller: Controller | None
    stopping: str | None
    stalled: events.Stalled | None
    nodes: tuple[NodeStatus, ...]


def status_of(saved: Saved) -> RunStatus:
    """Return what the run's folder tells; see `catch_up` for having it tell what is new."""
    state = state_of(saved.folder)
    return RunStatus(
        saved, saved.controller, state.stopping, state.stalled, tuple(_nodes(saved, state))
    )


def _nodes(saved: Saved, state: RunState) -> Iterator[NodeStatus]:
    for node in saved.plan.nodes:
        link = state.nodes.get(node.name, NodeLink(node.name))
        said = _said(saved, node.name)
        logs = list(stored(saved.logs, node.name))
        yield NodeStatus(
            node.name,
            _node_state(saved, link),
            link.unreachable_since,
            link.cause,
            tuple(
                _rank(saved, rank, local_rank, known, logs, said)
                for rank, local_rank, known in _places(saved.plan, node, state)
            ),
        )


def _places(
    plan: Plan, node: NodePlan, state: RunState
) -> Iterator[tuple[int, int, RankState | None]]:
    """Yield the ranks of a node, their local ranks, and what is known of them.

    Of an elastic job nobody can say where a rank will live until it does.
    """
    for local_rank, rank in enumerate(node.ranks):
        known = state.ranks.get((node.name, local_rank))
        if known is not None:
            yield known.rank, local_rank, known
        elif plan.elastic is None and rank in plan.expected_ranks:
            yield rank, local_rank, None


def _node_state(saved: Saved, link: NodeLink) -> NodeStateName:
    match link.state:
        # What it came to, wherever the node is by now.
        case "ended" | "lost" | "absent" | "left" as state:
            return state
    if link.unreachable_since is not None:
        return "unreachable"
    if link.state == "running":
        return "ended" if saved.has_ended else "running"
    return "absent" if saved.has_ended else "unreachable"


def _rank(
    saved: Saved,
    rank: int,
    local_rank: int,
    known: RankState | None,
    logs: list[Stream],
    said: dict[str, float],
) -> RankStatus:
    files = {log.path: saved.logs / log.node / log.path for log in logs if log.rank == rank}
    sizes = {path: file.stat().st_size for path, file in files.items()}
    times = {
        path: said.get(path, files[path].stat().st_mtime) for path, size in sizes.items() if size
    }
    newest = max(times, key=lambda path: times[path], default=None)
    return RankStatus(
        rank=rank,
        local_rank=local_rank,
        attempt=known.attempt if known else 0,
        pid=known.pid if known else None,
        ended=saved.has_ended or (known is not None and known.ended is not None),
        code=known.code if known else None,
        signal=known.signal if known else None,
        bytes=sum(sizes.values()),
        last_line=last_line(files[newest]) if newest else "",
        said=times[newest] if newest else None,
    )


def _said(saved: Saved, node: str) -> dict[str, float]:
    """Return when the newest bytes came, by the paths of the logs that have some among the newest."""
    skew = saved.settings.skews.get(node, 0.0)
    newest: dict[str, float] = {}
    for _, record in islice(IndexReader(saved.logs, node).newest_first(), _NEWEST):
        newest.setdefault(record.stream.path, record.t - skew)
    return newest
