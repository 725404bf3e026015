"""How a run ended, from what its nodes reported: pure."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator import events
from orchestrator.control.first_failure import (
    FirstFailure,
    NodeState,
    ReadSelfReport,
    find_first_failure,
    no_self_report,
)
from orchestrator.node.reasons import UNASKED, StopReason
from orchestrator.plan import Plan
from orchestrator.reasons import PEOPLE, Stop
from orchestrator.remote.reports import RankReport
from orchestrator.runs.outcome import INTERRUPTED, TIME_OUT, Outcome

FINAL = ("ended", "lost", "absent")
"""The states in which nothing more happens on a node."""

_FAILURES = (StopReason.RANK_FAILED, StopReason.LAUNCHER_FAILED, StopReason.NODE_FAILED)
# Of a run that was stopped though nothing had failed; any other reason is a controller's that had gone.
_EXIT_CODES = {
    StopReason.INTERRUPT: INTERRUPTED,
    StopReason.INTERRUPT_TWICE: INTERRUPTED,
    StopReason.STOP_REQUEST: INTERRUPTED,
    StopReason.SIGTERM: 128 + signals.SIGTERM,
    StopReason.SIGHUP: 128 + signals.SIGHUP,
    StopReason.TIME_LIMIT: TIME_OUT,
    StopReason.STALL: 1,
}


def stopped_code(stop: Stop) -> int:
    """Return the exit code of a run that was stopped for this reason, though nothing had failed."""
    return _EXIT_CODES.get(stop.reason, 1)


def how_stopped(stop: Stop) -> tuple[str, str]:
    """Return how such a run ended, and the details: the `how` and `detail` of a `Verdict`."""
    if stop.reason in (StopReason.INTERRUPT, StopReason.INTERRUPT_TWICE):
        return "stopped by an interrupt", ""  # Ctrl-C, wherever it was typed
    if stop.reason in PEOPLE:
        return f"stopped by {stop}", ""
    if stop.reason in _EXIT_CODES or stop.reason is StopReason.NODE_STOPPED:
        return stop.brief, str(stop).removeprefix(stop.brief)
    return "stopped", f": {stop}"


@dataclass(frozen=True)
class Verdict:
    """How a run ended. `left` has, by node, the processes that could not be killed.

    `how` and `detail` make one line, the `summary`: `stalled`, `: r1 get (train.py:11)`.
    `outcome` says it in a word. `unknown` names the nodes whose end orch has not seen; `explained` says
    why it failed, if it did, and `stop` why it was stopped, where that is how it ended.
    """

    exit_code: int
    how: str
    first_failure: FirstFailure | None
    left: Mapping[str, tuple[int, ...]]
    unknown: tuple[str, ...]
    explained: events.Explained | None = None
    outcome: Outcome = "failed"
    stop: Stop | None = None
    detail: str = ""

    @property
    def summary(self) -> str:
        return self.how + self.detail


def find_stop(nodes: Sequence[NodeState]) -> Stop | None:
    """Return why nodes have stopped: which one did so unasked, or what another controller has told them."""
    first = _first_stop(nodes)
    return None if first is None else first.told


class _Stop(NamedTuple):
    """A node that has stopped: when (the controller's clock), and why; an order is not its own doing."""

    at: float
    node: str
    why: Stop

    @property
    def is_order(self) -> bool:
        return self.why.reason not in UNASKED

    @property
    def told(self) -> Stop:
        """Why the others are to stop."""
        return self.why if self.is_order else self.why.of_node(self.node)


def _first_stop(nodes: Sequence[NodeState]) -> _Stop | None:
    """Return the first that stopped unasked, for the others may have been told to for its sake; else the
    first of all.
    """
    stops = [
        _Stop(
            (node.stopped_at or 0.0) - node.clock_skew,
            node.name,
            node.status.stopped,
        )
        for node in nodes
        if node.status is not None and node.status.stopped is not None
    ]
    return min(stops, key=lambda stop: (stop.is_order, stop.at), default=None)


def all_succeeded(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Tell whether every rank that orch sees has ended well: of an elastic run, those of its last round."""
    last = _last_round(plan, nodes)
    ended = {rank.rank: rank.end for _, rank in last.of(nodes) if rank.end is not None}
    return last.ranks <= {rank for rank, end in ended.items() if end.succeeded}


def all_ended(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Tell whether every rank that orch sees has ended for good, well or not."""
    if plan.restarts_itself:
        return all_succeeded(plan, nodes)
    return plan.expected_ranks <= {rank.rank for _, rank in _reports(nodes) if rank.end is not None}


@dataclass(frozen=True)
class _Round:
    """The ranks that were started together last; `world_size` is how many they were, 0 for any number."""

    ranks: frozenset[int]
    world_size: int

    def of(self, nodes: Sequence[NodeState]) -> Iterator[tuple[NodeState, RankReport]]:
        """Yield its ranks, each with its node; any other has ended in an earlier round."""
        for node, rank in _reports(nodes):
            if self.world_size in (0, rank.world_size):
                yield node, rank


def _last_round(plan: Plan, nodes: Sequence[NodeState]) -> _Round:
    """Return the last round of an elastic run, which may be smaller than the one before: a rank that is
    done early is not started again. Any other run has one.
    """
    started = [
        (rank.started - node.clock_skew, rank) for node in nodes for rank in node.ranks.values()
    ]
    if plan.elastic is None or not started:
        return _Round(plan.expected_ranks, 0)
    _, newest = max(started, key=lambda each: each[0])
    size = min(newest.world_size or plan.world_size, plan.world_size)
    return _Round(frozenset(range(size)), newest.world_size)


def _reports(nodes: Sequence[NodeState]) -> Iterator[tuple[NodeState, RankReport]]:
    for node in nodes:
        for rank in node.ranks.values():
            yield node, rank


def judge(
    plan: Plan,
    nodes: Sequence[NodeState],
    stopped: Stop | None,
    hear: ReadSelfReport = no_self_report,
) -> Verdict:
    """Return the verdict of a run whose nodes have all ended, or were given up.

    `stopped` is why this controller stopped it, if it did; `hear` what ranks that failed say of it.
    """
    left = {node.name: node.status.left for node in nodes if node.status and node.status.left}
    unknown = tuple(
        node.name for node in nodes if node.status is None or node.status.state not in FINAL
    )
    stop = _first_stop(nodes)
    first_failure = find_first_failure(nodes, hear, before=_stopped_before(nodes, stopped, stop))
    if first_failure is not None and first_failure.end is None and all_succeeded(plan, nodes):
        first_failure = (
            None  # what became of the node after its ranks had ended well changes nothing
        )
    by_themselves = _all_ended_by_themselves(plan, nodes)
    if stopped is None and stop is not None and stop.why.reason in _EXIT_CODES:
        stopped = stop.why
    ended_by: Stop | None = None
    outcome: Outcome = "failed"
    detail = ""
    if first_failure is not None:
        code, how = _exit_code(first_failure), describe(first_failure)
        outcome = "lost" if first_failure.end is None else "failed"
    elif stopped is not None and not by_themselves:
        ended_by, code = stopped, stopped_code(stopped)
        how, detail = how_stopped(stopped)
        outcome = "failed" if stopped.reason is StopReason.STALL else "stopped"
    elif stop is not None and not by_themselves:
        ended_by, code = stop.told, 1
        how, detail = how_stopped(stop.told)
        outcome = "failed" if stop.why.reason in _FAILURES else "stopped"
    elif all_succeeded(plan, nodes):
        code, how = 0, f"{_who_succeeded(plan, nodes)} succeeded"
        outcome = "succeeded"
    elif unknown:
        code, how = 1, f"lost contact with {', '.join(unknown)}"
        outcome = "lost"
    else:
        code, how, detail = _launchers_end(plan, nodes)
    return Verdict(
        code, how, first_failure, left, unknown, outcome=outcome, stop=ended_by, detail=detail
    )


def _stopped_before(
    nodes: Sequence[NodeState], stopped: Stop | None, stop: _Stop | None
) -> float | None:
    """Return when the first node was stopped though nothing had failed, by the controller's clock.

    Ranks on nodes that hear of it later lose those on nodes that heard of it sooner.
    """
    if stopped is None and (stop is None or stop.why.reason in _FAILURES):
        return None
    return min(
        (node.stopped_at - node.clock_skew for node in nodes if node.stopped_at is not None),
        default=None,
    )


def _all_ended_by_themselves(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Tell whether every rank had ended before it was told to; one that saves and exits 0 had not."""
    last = _last_round(plan, nodes)
    by_themselves = {
        rank.rank
        for node, rank in last.of(nodes)
        if rank.ended is not None and (node.stopped_at is None or rank.ended <= node.stopped_at)
    }
    return last.ranks <= by_themselves


def _who_succeeded(plan: Plan, nodes: Sequence[NodeState]) -> str:
    """Return what orch has seen succeed: it counts the processes that ran, not those that were planned."""
    if plan.once_per_node:  # what a script starts itself is not seen
        count = len(plan.nodes)
        return "the script" if count == 1 else f"the script on all {count} nodes"
    count = len(_last_round(plan, nodes).ranks)
    ranks = "1 rank" if count == 1 else f"all {count} ranks"
    return ranks if count == plan.world_size else f"{ranks} of the last round"


def _launchers_end(plan: Plan, nodes: Sequence[NodeState]) -> tuple[int, str, str]:
    """Return exit code, how and detail where the launchers ended well, yet not every rank was seen to."""
    seen = {rank.rank for _, rank in _reports(nodes)}
    launchers = [node.status.launcher for node in nodes if node.status is not None]
    if not seen and launchers and all(end is not None and end.succeeded for end in launchers):
        # It starts ranks in a way of its own (`--run-path`), and sees to them: torchrun fails with them.
        where = "" if len(nodes) == 1 else f" on all {len(nodes)} nodes"
        unseen = "; it started its ranks without orch seeing them"
        return 0, f"the launcher succeeded{where}", unseen
    missing = sorted(plan.expected_ranks - seen)
    if missing:
        return 1, f"the launcher ended without having started rank {missing[0]}", ""
    return 1, "not every rank ended by itself", ""


def _exit_code(first_failure: FirstFailure) -> int:
    return (first_failure.end.exit_code if first_failure.end is not None else 0) or 1


def describe(first_failure: FirstFailure) -> str:
    """Return what failed, and how, in one line."""
    if first_failure.end is None:
        return f"{first_failure.node} {first_failure.why}"
    who = f"rank {first_failure.rank}" if first_failure.rank is not None else "the launcher"
    return f"{who} on {first_failure.node} {first_failure.end.how}"
