"""What a controller that took over a run has seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.takeover import TakeoverHistory
from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport
from tests.runs.helpers import ENDED, RUNNING, rank

BAD = ProcessEnd(3, None)
RANK, LAUNCHER, GONE = (
    FirstFailure("n0", 0, BAD),
    FirstFailure("n0", None, BAD),
    FirstFailure("n0", None, None, "is gone"),
)


def node(status: StatusReport | None, *ranks: RankReport) -> NodeState:
    return NodeState("n0", {report.rank: report for report in ranks}, status)


def history_of(*states: NodeState, restarts_itself: bool = False) -> TakeoverHistory:
    history = TakeoverHistory(restarts_itself=restarts_itself)
    for state in states:
        history.observe(state)
    return history


def test_saw_is_true_for_a_rank_that_was_alive_at_first() -> None:
    history = history_of(
        node(RUNNING),
        node(RUNNING, rank(0)),
        node(RUNNING, rank(0, BAD)),
        node(ENDED, rank(0, BAD)),
    )
    assert history.saw(RANK)


def test_saw_is_false_for_a_rank_that_had_ended_at_first() -> None:
    """Even if its node is still running, since other ranks there wait for it."""
    history = history_of(
        node(RUNNING), node(RUNNING, rank(0, BAD)), node(RUNNING, rank(0, BAD), rank(1))
    )
    assert not history.saw(RANK)


@pytest.mark.parametrize("failure", [RANK, LAUNCHER, GONE])
@pytest.mark.parametrize("state", ["ended", "lost", "absent"])
def test_saw_is_false_for_a_node_that_had_ended_at_first(failure: FirstFailure, state: str) -> None:
    over = StatusReport(state, None, ())
    assert not history_of(node(over), node(over, rank(0, BAD))).saw(failure)


@pytest.mark.parametrize("failure", [RANK, LAUNCHER, GONE])
def test_saw_is_false_for_a_node_without_reports(failure: FirstFailure) -> None:
    assert not history_of(node(None)).saw(failure)


def test_saw_is_true_for_a_lost_node_that_was_alive_at_first() -> None:
    assert history_of(node(RUNNING), node(replace(RUNNING, state="lost"))).saw(GONE)


@pytest.mark.parametrize("failure", [RANK, LAUNCHER])
def test_saw_of_a_launcher_that_restarts_ranks_depends_on_its_own_end(
    failure: FirstFailure,
) -> None:
    failed_once = node(RUNNING, rank(0, BAD))
    ended = node(replace(RUNNING, launcher=BAD), rank(0, BAD))
    assert history_of(failed_once, ended, restarts_itself=True).saw(failure)
    assert not history_of(ended, restarts_itself=True).saw(failure)
