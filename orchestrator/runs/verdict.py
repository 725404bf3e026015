"""How a run ended, from what its nodes reported: pure."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator import events
from orchestrator.plan import Plan
from orchestrator.runs.culprit import Culprit, Hear, NodeState, find_culprit, unheard

FINAL = ("ended", "lost", "absent")
"""The states in which nothing more happens on a node."""

FAILED = " failed"
"""How the reason ends for which nodes are told to stop when something failed."""

_INTERRUPT = "an interrupt"  # Ctrl-C, wherever it was typed

# What an earlier controller told the nodes when a person stopped the run, and who that was.
_PEOPLE = {
    "interrupted": _INTERRUPT,
    "interrupted twice": _INTERRUPT,
    "orch stop": "orch stop",
}
_INTERRUPTED = 130
_TIMED_OUT = "timed out after "
_TIME_OUT = 124  # as timeout(1) has it
_STALLED = "stalled: "


@dataclass(frozen=True)
class Stopped:
    """The run was stopped, though nothing failed: the exit code that means this, and one line on it."""

    exit_code: int
    summary: str

    @property
    def is_failure(self) -> bool:
        """Whether that is the run's own doing: it did not get on."""
        return self.summary.startswith(_STALLED)

    @classmethod
    def by_signal(cls, number: int) -> Stopped:
        """A signal that a person sent, Ctrl-C say."""
        name = _INTERRUPT if number == signals.SIGINT else signals.Signals(number).name
        return cls(128 + number, f"stopped by {name}")

    @classmethod
    def by_wish(cls, reason: str) -> Stopped:
        """What a person left for the controller, from another terminal."""
        return cls(_INTERRUPTED, f"stopped by {_PEOPLE.get(reason, reason)}")

    @classmethod
    def for_reason(cls, reason: str) -> Stopped | None:
        """What a controller told the nodes: a person, the time limit, or that nothing moved; None for any
        other reason.
        """
        if reason.startswith(_STALLED):
            return cls(1, reason)
        if reason.startswith(_TIMED_OUT):
            return cls(_TIME_OUT, reason)
        return cls.by_wish(reason) if reason in _PEOPLE else None


def timed_out(timeout: float) -> str:
    """Return why nodes are told to stop when the run has had its `timeout`, seconds."""
    return f"{_TIMED_OUT}{timeout:g} s"


def stalled(what: str) -> str:
    """Return why nodes are told to stop when nothing moves any more; `what` keeps the run."""
    return f"{_STALLED}{what}"


@dataclass(frozen=True)
class Verdict:
    """How a run ended. `left` has, by node, the processes that could not be killed.

    `unknown` names the nodes whose end orch has not seen; `explained` says why it failed, if it did.
    """

    exit_code: int
    summary: str
    culprit: Culprit | None
    left: Mapping[str, tuple[int, ...]]
    unknown: tuple[str, ...]
    explained: events.Explained | None = None


def find_stop(nodes: Sequence[NodeState]) -> str | None:
    """Return which node has stopped first, and why: another controller told it to, or its lease is over."""
    first = _first_stop(nodes)
    return None if first is None else f"{first[0]} stopped: {first[1]}"


def _first_stop(nodes: Sequence[NodeState]) -> tuple[str, str] | None:
    """Return the node that has stopped first, and why. The others may have been told to for its sake."""
    stops = [
        ((node.stopped_at or 0.0) - node.clock_skew, node.name, node.status.stopped)
        for node in nodes
        if node.status is not None and node.status.stopped is not None
    ]
    return min(stops)[1:] if stops else None


def all_succeeded(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Tell whether every rank that orch sees has ended well."""
    return plan.expected_ranks <= {end.rank for end in _ends(nodes) if end.succeeded}


def all_ended(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Tell whether every rank that orch sees has ended for good, well or not."""
    if plan.restarts_itself:
        return all_succeeded(plan, nodes)
    return plan.expected_ranks <= {end.rank for end in _ends(nodes)}


class _End(NamedTuple):
    rank: int
    succeeded: bool


def _ends(nodes: Sequence[NodeState]) -> Iterator[_End]:
    for node in nodes:
        for rank in node.ranks.values():
            if rank.end is not None:
                yield _End(rank.rank, rank.end.succeeded)


def judge(
    plan: Plan, nodes: Sequence[NodeState], stopped: Stopped | None, hear: Hear = unheard
) -> Verdict:
    """Return the verdict of a run whose nodes have all ended, or were given up.

    `stopped` says who stopped it, if anybody did; `hear` what ranks that failed say of it.
    """
    left = {node.name: node.status.left for node in nodes if node.status and node.status.left}
    unknown = tuple(
        node.name for node in nodes if node.status is None or node.status.state not in FINAL
    )
    stop = _first_stop(nodes)
    culprit = find_culprit(nodes, hear, before=_stopped_before(nodes, stopped, stop))
    if culprit is not None and culprit.end is None and all_succeeded(plan, nodes):
        culprit = None  # what became of the node after its ranks had ended well changes nothing
    by_themselves = _all_ended_by_themselves(plan, nodes)
    if stopped is None and stop is not None:
        stopped = Stopped.for_reason(stop[1])
    if culprit is not None:
        code, summary = _exit_code(culprit), describe(culprit)
    elif stopped is not None and not by_themselves:
        code, summary = stopped.exit_code, stopped.summary
    elif stop is not None and not by_themselves:
        code, summary = 1, f"{stop[0]} stopped: {stop[1]}"
    elif all_succeeded(plan, nodes):
        ranks = "1 rank" if plan.world_size == 1 else f"all {plan.world_size} ranks"
        code, summary = 0, f"{ranks} succeeded"
    elif unknown:
        code, summary = 1, f"lost sight of {', '.join(unknown)}"
    else:
        code, summary = _launchers_end(plan, nodes)
    return Verdict(code, summary, culprit, left, unknown)


def _stopped_before(
    nodes: Sequence[NodeState], stopped: Stopped | None, stop: tuple[str, str] | None
) -> float | None:
    """Return when the first node was stopped though nothing had failed, by the controller's clock.

    Ranks on nodes that hear of it later lose those on nodes that heard of it sooner.
    """
    if stopped is None and (stop is None or stop[1].endswith(FAILED)):
        return None
    return min(
        (node.stopped_at - node.clock_skew for node in nodes if node.stopped_at is not None),
        default=None,
    )


def _all_ended_by_themselves(plan: Plan, nodes: Sequence[NodeState]) -> bool:
    """Tell whether every rank had ended before it was told to; one that saves and exits 0 had not."""
    by_themselves = {
        rank.rank
        for node in nodes
        for rank in node.ranks.values()
        if rank.ended is not None and (node.stopped_at is None or rank.ended <= node.stopped_at)
    }
    return plan.expected_ranks <= by_themselves


def _launchers_end(plan: Plan, nodes: Sequence[NodeState]) -> tuple[int, str]:
    """The launchers ended well, yet not every rank was seen to."""
    seen = {rank for node in nodes for rank in node.ranks}
    missing = sorted(plan.expected_ranks - seen)
    if missing:
        return 1, f"the launcher ended without having started rank {missing[0]}"
    return 1, "not every rank ended by itself"


def _exit_code(culprit: Culprit) -> int:
    return (culprit.end.exit_code if culprit.end is not None else 0) or 1


def describe(culprit: Culprit) -> str:
    """Return what failed, and how, in one line."""
    if culprit.end is None:
        return f"{culprit.node} {culprit.why}"
    who = f"rank {culprit.rank}" if culprit.rank is not None else "the launcher"
    return f"{who} on {culprit.node} {culprit.end.how}"
