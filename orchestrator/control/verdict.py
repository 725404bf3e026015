"""How a run ended, from what its nodes reported (no I/O)."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
"""The final states of a node."""

_FAILURES = (StopReason.RANK_FAILED, StopReason.LAUNCHER_FAILED, StopReason.NODE_FAILED)
# For a run stopped without a failure; other reasons come from an earlier controller.
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
    """Return the exit code of a run that was stopped for this reason without a failure."""
    return _EXIT_CODES.get(stop.reason, 1)


def how_stopped(stop: Stop) -> tuple[str, str]:
    """Return the `how` and `detail` of the verdict on such a run."""
    if stop.reason in (StopReason.INTERRUPT, StopReason.INTERRUPT_TWICE):
        return "stopped by an interrupt", ""  # Ctrl-C, in any terminal
    if stop.reason in PEOPLE:
        return f"stopped by {stop}", ""
    if stop.reason in _EXIT_CODES or stop.reason is StopReason.NODE_STOPPED:
        return stop.brief, str(stop).removeprefix(stop.brief)
    return "stopped", f": {stop}"


@dataclass(frozen=True)
class Verdict:
    """How a run ended.

    `how` and `detail` together are the `summary`: `stalled` and `: r1 get (train.py:11)`. `left` are the
    processes that could not be killed, by node; `unknown` the nodes that did not report their end.
    `explained` is why the run failed, and `stop` why it was stopped, if it was.
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
    """Return why the other nodes must stop, since one has stopped; None if none has."""
    first = _first_stop(nodes)
    return None if first is None else first.reason_for_others


class _Stop(NamedTuple):
    """The stop of a node: when (the controller's clock) and why."""

    at: float
    node: str
    why: Stop

    @property
    def is_requested(self) -> bool:
        """Whether a controller asked the node to stop; otherwise it stopped by itself."""
        return self.why.reason not in UNASKED

    @property
    def reason_for_others(self) -> Stop:
        return self.why if self.is_requested else self.why.of_node(self.node)


def _first_stop(nodes: Sequence[NodeState]) -> _Stop | None:
    """Return the first stop without a request, since it may cause others; otherwise the first stop."""
    stops = [
        _Stop((node.stopped_at or 0.0) - node.clock_skew, node.name, node.status.stopped)
        for node in nodes
        if node.status is not None and node.status.stopped is not None
    ]
    return min(stops, key=lambda stop: (stop.is_requested, stop.at), default=None)


def all_succeeded(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Return whether all ranks that orch sees succeeded; in an elastic run, those of the last round."""
    last = _last_round(plan, nodes)
    ended = {rank.rank: rank.end for _, rank in last.of(nodes) if rank.end is not None}
    return last.ranks <= {rank for rank, end in ended.items() if end.succeeded}


def all_ended(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Return whether all ranks that orch sees have ended and will not restart."""
    if plan.restarts_itself:
        return all_succeeded(plan, nodes)
    return plan.expected_ranks <= {rank.rank for _, rank in _reports(nodes) if rank.end is not None}


@dataclass(frozen=True)
class _Round:
    """The ranks that were last started together; `world_size` is their number, 0 if it does not matter."""

    ranks: frozenset[int]
    world_size: int

    def of(self, nodes: Sequence[NodeState]) -> Iterator[tuple[NodeState, RankReport]]:
        """Yield its ranks, each with its node; other ranks have ended in an earlier round."""
        for node, rank in _reports(nodes):
            if self.world_size in (0, rank.world_size):
                yield node, rank


def _last_round(plan: Plan, nodes: Sequence[NodeState]) -> _Round:
    """Return the last round of an elastic run, or the only round of any other run.

    It may be smaller than the one before: a rank that has finished early is not restarted.
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
    self_report: ReadSelfReport = no_self_report,
) -> Verdict:
    """Return the verdict on a run after all nodes have ended or were given up.

    `stopped` is why this controller stopped it, if it did; `self_report` returns what the output of a rank
    says about its end.
    """
    left = {node.name: node.status.left for node in nodes if node.status and node.status.left}
    unknown = tuple(
        node.name for node in nodes if node.status is None or node.status.state not in FINAL
    )
    stop = _first_stop(nodes)
    before = _stopped_before(nodes, stopped, stop)
    failure = find_first_failure(nodes, self_report, before=before)
    is_needed = failure is not None and failure.end is not None
    if plan.runs_once and failure is not None:
        is_needed = failure.rank is not None
    if not is_needed and all_succeeded(plan, nodes):
        failure = None  # what fails after all ranks have succeeded does not matter
    verdict = partial(Verdict, first_failure=failure, left=left, unknown=unknown)
    if failure is not None:
        code = (failure.end.exit_code if failure.end is not None else 0) or 1
        return verdict(code, describe(failure), outcome="lost" if failure.end is None else "failed")
    if stopped is None and stop is not None and stop.why.reason in _EXIT_CODES:
        stopped = stop.why
    if not _all_ended_by_themselves(plan, nodes):
        if stopped is not None:
            how, detail = how_stopped(stopped)
            is_stall = stopped.reason is StopReason.STALL
            return verdict(
                stopped_code(stopped), how, detail=detail, stop=stopped,
                outcome="failed" if is_stall else "stopped",
            )  # fmt: skip
        if stop is not None:
            how, detail = how_stopped(stop.reason_for_others)
            is_failure = stop.why.reason in _FAILURES
            return verdict(
                1, how, detail=detail, stop=stop.reason_for_others,
                outcome="failed" if is_failure else "stopped",
            )  # fmt: skip
    if all_succeeded(plan, nodes):
        return verdict(0, f"{_who_succeeded(plan, nodes)} succeeded", outcome="succeeded")
    if unknown:
        return verdict(1, f"lost contact with {', '.join(unknown)}", outcome="lost")
    code, how, detail = _launchers_end(plan, nodes)
    return verdict(code, how, detail=detail)


def _stopped_before(
    nodes: Sequence[NodeState], stopped: Stop | None, stop: _Stop | None
) -> float | None:
    """Return when the first node was stopped without a failure (the controller's clock), or None.

    Ranks on nodes that are stopped later fail because they lose those on this one.
    """
    if stopped is None and (stop is None or stop.why.reason in _FAILURES):
        return None
    return min(
        (node.stopped_at - node.clock_skew for node in nodes if node.stopped_at is not None),
        default=None,
    )


def _all_ended_by_themselves(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Return whether every rank ended before it was stopped; exiting with 0 on SIGTERM does not count."""
    last = _last_round(plan, nodes)
    by_themselves = {
        rank.rank
        for node, rank in last.of(nodes)
        if rank.ended is not None and (node.stopped_at is None or rank.ended <= node.stopped_at)
    }
    return last.ranks <= by_themselves


def _who_succeeded(plan: Plan, nodes: Sequence[NodeState]) -> str:
    """Return what succeeded, counting the processes that orch saw run, not those planned."""
    if plan.runs_once:
        return "the script"
    if plan.once_per_node:  # orch does not see the processes that a script starts
        count = len(plan.nodes)
        return "the script" if count == 1 else f"the script on all {count} nodes"
    count = len(_last_round(plan, nodes).ranks)
    ranks = "1 rank" if count == 1 else f"all {count} ranks"
    return ranks if count == plan.world_size else f"{ranks} of the last round"


def _launchers_end(plan: Plan, nodes: Sequence[NodeState]) -> tuple[int, str, str]:
    """Return exit code, how and detail if launchers succeeded but not all ranks were seen to succeed."""
    seen = {rank.rank for _, rank in _reports(nodes)}
    launchers = [node.status.launcher for node in nodes if node.status is not None]
    if not seen and launchers and all(end is not None and end.succeeded for end in launchers):
        # torchrun started the ranks in another way (`--run-path`); it fails if one of them does.
        where = "" if len(nodes) == 1 else f" on all {len(nodes)} nodes"
        unseen = "; orch did not see its ranks"
        return 0, f"the launcher succeeded{where}", unseen
    missing = sorted(plan.expected_ranks - seen)
    if missing:
        return 1, f"the launcher ended and did not start rank {missing[0]}", ""
    return 1, "not every rank ended by itself", ""


def describe(failure: FirstFailure) -> str:
    """Return what failed, and how, in one line."""
    if failure.end is None:
        return f"{failure.node} {failure.why}"
    who = f"rank {failure.rank}" if failure.rank is not None else "the launcher"
    return f"{who} on {failure.node} {failure.end.how}"
