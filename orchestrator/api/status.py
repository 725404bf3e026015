"""The use case: the state of every node and rank of a run, as this machine knows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from orchestrator import events
from orchestrator.api.refresh import refresh
from orchestrator.errors import OrchError
from orchestrator.logs.index import IndexReader, stored_streams
from orchestrator.logs.log_line import last_line
from orchestrator.logs.stream import Stream
from orchestrator.node.trust import Untrusted
from orchestrator.plan import NodePlan, Plan
from orchestrator.plan.masking import masked_words
from orchestrator.runs.folder import size_of
from orchestrator.runs.lock import Controller
from orchestrator.runs.registry import all_runs, unless_pruned, unreadable_runs, untrusted_runs
from orchestrator.runs.saved_run import SavedRun, load_run
from orchestrator.runs.state import NodeCondition, RankState, RunState, state_of
from orchestrator.util.frontend import Shown
from orchestrator.util.signals import signal_name

_MAX_RECORDS = 20_000  # read of a node's index to find the times of last lines

NodeStateName = Literal["running", "unreachable", "ended", "lost", "absent", "left"]
RankStateName = Literal["starting", "running", "ended", "failed", "killed"]


@dataclass(frozen=True)
class RankStatus:
    """One rank. `pid` is None until it starts, `exit_code` until it ends. If a signal ended it, `signal` is
    its name (`SIGKILL`), and the code is 128 + its number. `bytes` is the size of its logs, `last_line`
    their last line, and `said` when that arrived, in seconds since the epoch by this machine's clock
    (None: no line yet).
    """

    rank: int
    local_rank: int
    state: RankStateName
    pid: int | None
    exit_code: int | None
    signal: str | None
    bytes: int
    last_line: str
    said: float | None


@dataclass(frozen=True)
class NodeStatus:
    """One node: `lost` if its supervisor died, `absent` if it has nothing of the run, `left` if an elastic
    run continued without it. `unreachable_since` is seconds since the epoch, and `cause` why it is
    unreachable or has left.
    """

    name: str
    state: NodeStateName
    unreachable_since: float | None
    ranks: tuple[RankStatus, ...]
    cause: str = ""


@dataclass(frozen=True)
class AttemptStatus:
    """A failed attempt before the current one, counted by `number` from 1; its logs are below
    `attempt-<folder>`. `began` and `ended` are seconds since the epoch.
    """

    number: int
    folder: int
    began: float
    ended: float
    exit_code: int
    summary: str


@dataclass(frozen=True)
class RunStatus(Shown):
    """One run, and its nodes in their order. `state` is starting, running, stopping or stalled while it is
    active; then succeeded, failed, stopped (by a user or its time limit) or lost (a node was
    lost); `summary` says why. `began` and `ended` are seconds since the epoch, `logs` is the folder of
    its logs on this machine, and `controller` is None if it has none. `verdict` is why it failed, if it
    did; `failed` are the attempts before the current one, and `files` what the run had written in the main
    node's working folder when it ended. `stragglers` are the ranks that the others wait for now.
    """

    run: str
    state: str
    summary: str
    launcher: str
    began: float
    ended: float | None
    exit_code: int | None
    logs: Path
    controller: Controller | None
    nodes: tuple[NodeStatus, ...]
    verdict: events.Explained | None = None
    failed: tuple[AttemptStatus, ...] = ()
    files: events.FilesWritten | None = None
    stragglers: tuple[events.Straggling, ...] = ()


@dataclass(frozen=True)
class RunSummary:
    """A summary of one run; see `RunStatus`. `age_seconds` is the time since it began, `took_seconds` its
    duration; the latter and `exit_code` are None until it has ended. `script` is without secrets,
    `bytes` is the size of its logs on this machine. An active run has a `controller`, unless that died.
    """

    run: str
    state: str
    nodes: int
    ranks: int
    launcher: str
    began: float
    age_seconds: float
    took_seconds: float | None
    script: str
    exit_code: int | None
    bytes: int
    summary: str
    controller: Controller | None


def status_of(saved: SavedRun) -> RunStatus:
    """Return the status of the run from its folder, which `refresh` updates."""
    known = state_of(saved.folder)
    state, summary = _condition(saved, known)
    return RunStatus(
        run=saved.run,
        state=state,
        summary=summary,
        launcher=saved.plan.launcher,
        began=saved.began,
        ended=saved.ended,
        exit_code=saved.exit_code,
        logs=saved.logs,
        controller=saved.controller,
        nodes=tuple(_nodes(saved, known)),
        verdict=saved.verdict,
        failed=tuple(
            AttemptStatus(
                number,
                attempt.number,
                attempt.began,
                attempt.ended,
                attempt.exit_code,
                attempt.summary,
            )
            for number, attempt in enumerate(saved.failed, start=1)
        ),
        files=known.files if saved.has_ended else None,
        stragglers=() if saved.has_ended else tuple(known.stragglers.values()),
    )


def known_status(folder: Path) -> RunStatus | None:
    """Return what this machine knows of the run in `folder`, without asking a node; None if it was removed.

    Raises OrchError or OSError if its folder cannot be read.
    """
    saved = load_run(folder)
    if saved is None:
        return None
    with unless_pruned(saved):
        return status_of(saved)


async def current_status(saved: SavedRun, emit: events.Emit) -> RunStatus:
    """Ask the nodes, unless the run has ended, and return its status; see `refresh`."""
    if not saved.has_ended:  # after its end, only logs can be missing
        saved = await refresh(saved, emit)
    with unless_pruned(saved):
        return status_of(saved)


@dataclass(frozen=True)
class RunList:
    """Every run of this machine, and the folders that are left out: of other users, or unreadable."""

    runs: list[RunSummary]
    untrusted: list[Untrusted]
    unreadable: list[Path]


def list_runs() -> RunList:
    """Return the runs of this machine, the latest first, without asking any node."""
    now = time.time()
    return RunList(
        [summary_of(saved, now) for saved in all_runs()], untrusted_runs(), unreadable_runs()
    )


def summary_of(saved: SavedRun, now: float) -> RunSummary:
    """Return a summary of the run at `now`, in seconds since the epoch, from its folder."""
    try:
        controller = saved.controller
    except OrchError:  # commands on the run itself report it
        controller = None
    state, summary = _condition(saved, None if saved.has_ended else state_of(saved.folder))
    return RunSummary(
        run=saved.run,
        state=state,
        nodes=len(saved.plan.nodes),
        ranks=saved.plan.world_size,
        launcher=saved.plan.launcher,
        began=saved.began,
        age_seconds=now - saved.began,
        took_seconds=None if saved.ended is None else saved.ended - saved.began,
        script=" ".join(masked_words(saved.settings.script)),
        exit_code=saved.exit_code,
        bytes=size_of(saved.logs),
        summary=summary,
        controller=controller,
    )


def _condition(saved: SavedRun, known: RunState | None) -> tuple[str, str]:
    """Return the state of a run, and why it is stopping or stalled."""
    if known is not None and not saved.has_ended:
        if known.stopping is not None:
            return "stopping", str(known.stopping)
        if known.stalled is not None:
            return "stalled", known.stalled.suspect or " · ".join(known.stalled.stacks)
    return saved.outcome or saved.state, saved.summary


def _nodes(saved: SavedRun, state: RunState) -> Iterator[NodeStatus]:
    for node in saved.plan.nodes:
        link = state.nodes.get(node.name, NodeCondition(node.name))
        times = _newest_times(saved, node.name)
        logs = list(stored_streams(saved.logs, node.name))
        ranks = tuple(
            _rank(saved, rank, local_rank, known, logs, times)
            for rank, local_rank, known in _ranks(saved.plan, node, state)
        )
        why = link.cause if link.unreachable_since is not None or link.state == "left" else ""
        yield NodeStatus(node.name, _node_state(saved, link), link.unreachable_since, ranks, why)


def _ranks(
    plan: Plan, node: NodePlan, state: RunState
) -> Iterator[tuple[int, int, RankState | None]]:
    """Yield the ranks of a node, their local ranks, and their state.

    The node of an elastic job's rank is unknown until the rank has begun.
    """
    for local_rank, rank in enumerate(node.ranks):
        known = state.ranks.get((node.name, local_rank))
        if known is not None:
            yield known.rank, local_rank, known
        elif plan.elastic is None and rank in plan.expected_ranks:
            yield rank, local_rank, None


def _node_state(saved: SavedRun, link: NodeCondition) -> NodeStateName:
    match link.state:
        # How it ended counts, even if the node is unreachable now.
        case "ended" | "lost" | "absent" | "left" as state:
            return state
    if link.unreachable_since is not None:
        return "unreachable"
    if link.state == "running":
        return "ended" if saved.has_ended else "running"
    return "absent" if saved.has_ended else "unreachable"


def _rank(
    saved: SavedRun,
    rank: int,
    local_rank: int,
    known: RankState | None,
    logs: list[Stream],
    newest_times: dict[str, float],
) -> RankStatus:
    files = {log.path: saved.logs / log.node / log.path for log in logs if log.rank == rank}
    sizes = {path: file.stat().st_size for path, file in files.items()}
    times = {
        path: newest_times.get(path, files[path].stat().st_mtime)
        for path, size in sizes.items()
        if size
    }
    newest = max(times, key=lambda path: times[path], default=None)
    signal = known.signal if known else None
    code = known.code if known and signal is None else None if signal is None else 128 + signal
    return RankStatus(
        rank=rank,
        local_rank=local_rank,
        state=_rank_state(saved, known),
        pid=known.pid if known else None,
        exit_code=code,
        signal=None if signal is None else signal_name(signal),
        bytes=sum(sizes.values()),
        last_line=last_line(files[newest]) if newest else "",
        said=times[newest] if newest else None,
    )


def _rank_state(saved: SavedRun, known: RankState | None) -> RankStateName:
    if known is not None and known.signal is not None:
        return "killed"
    if known is not None and known.code:
        return "failed"
    if saved.has_ended or (known is not None and known.ended is not None):
        return "ended"
    return "starting" if known is None else "running"


def _newest_times(saved: SavedRun, node: str) -> dict[str, float]:
    """Return when the newest bytes of each recently written log arrived, by path."""
    skew = saved.settings.skews.get(node, 0.0)
    newest: dict[str, float] = {}
    for _, record in islice(IndexReader(saved.logs, node).newest_first(), _MAX_RECORDS):
        newest.setdefault(record.stream.path, record.t - skew)
    return newest
