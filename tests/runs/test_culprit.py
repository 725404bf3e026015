"""Whom to blame where times alone do not tell."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport
from orchestrator.runs.culprit import Account, Hear, NodeState, find_culprit
from orchestrator.runs.verdict import Stopped, judge, timed_out
from tests.runs.helpers import ENDED, KILL, OK, RUNNING, TERM, plan_of, rank

FAILED = ProcessEnd(1, None)


def node(
    name: str,
    *ranks: RankReport,
    stopped_at: float | None = None,
    skew: float = 0.0,
    gone: str | None = None,
    status: StatusReport | None = ENDED,
) -> NodeState:
    return NodeState(name, {r.rank: r for r in ranks}, status, skew, stopped_at, gone)


def hearing(accounts: Mapping[int, Account]) -> Hear:
    return lambda node, rank: accounts.get(rank.rank, "")


def blamed(nodes: list[NodeState], accounts: Mapping[int, Account]) -> int | str | None:
    """Return which rank is to blame, or which node."""
    culprit = find_culprit(nodes, hearing(accounts))
    assert culprit is not None
    return culprit.node if culprit.rank is None else culprit.rank


def test_a_rank_that_lost_others_may_end_before_the_one_it_lost() -> None:
    nodes = [node("n0", rank(0, FAILED, 1.0)), node("n1", rank(1, FAILED, 1.2))]
    assert blamed(nodes, {0: "others", 1: "own"}) == 1
    assert blamed(nodes, {0: "others"}) == 1  # one that says nothing, having been killed
    assert blamed(nodes, {}) == 0


def test_where_all_lost_others_the_first_is_all_there_is() -> None:
    nodes = [node("n0", rank(0, FAILED, 1.0)), node("n1", rank(1, FAILED, 1.2))]
    assert blamed(nodes, {0: "others", 1: "others"}) == 0


def test_a_node_that_is_gone_is_whom_they_lost() -> None:
    nodes = [node("n0", rank(0, FAILED, 1.0)), node("n1", rank(1), gone="vanished", status=RUNNING)]
    assert blamed(nodes, {0: "others"}) == "n1"
    assert blamed(nodes, {0: "own"}) == 0


def test_one_that_was_stopped_while_it_ended_for_reasons_of_its_own_is_found() -> None:
    # It raised, closed its connections, and took seconds to give its GPU back.
    nodes = [
        node("n0", rank(0, FAILED, 1.0), stopped_at=2.0),
        node("n1", rank(1, TERM, 2.5), rank(2, TERM, 2.4), stopped_at=2.0),
    ]
    assert blamed(nodes, {0: "others", 1: "own"}) == 1
    assert blamed(nodes, {0: "others"}) == 0


# -- stopped, though nothing had failed -------------------------------------------------------------

CTRL_C = Stopped.by_signal(2)


def told_one_after_the_other(failed_at: float, skew: float = 0.0) -> list[NodeState]:
    """A near node that hears of the stop at 4, and a far one that does at 6; its rank fails before."""
    return [
        node("near", rank(0, TERM, 4.1), stopped_at=4.0),
        node("far", rank(1, FAILED, failed_at + skew), stopped_at=6.0 + skew, skew=skew),
    ]


@pytest.mark.parametrize("stopped", [CTRL_C, Stopped.for_reason(timed_out(4))])
@pytest.mark.parametrize("skew", [0.0, -30.0])
def test_who_loses_ranks_that_heard_of_the_stop_sooner_has_not_failed(
    stopped: Stopped, skew: float
) -> None:
    verdict = judge(plan_of(1, 1), told_one_after_the_other(4.5, skew), stopped)
    assert (verdict.culprit, verdict.summary) == (None, stopped.summary)


def test_who_failed_clearly_before_the_first_node_heard_of_the_stop_has_failed() -> None:
    assert judge(plan_of(1, 1), told_one_after_the_other(3.0), CTRL_C).exit_code == 1
    assert judge(plan_of(1, 1), told_one_after_the_other(3.95), CTRL_C).exit_code == 130


def test_a_stop_for_a_failure_excuses_nobody_who_failed_before_hearing_of_it() -> None:
    nodes = told_one_after_the_other(4.5)
    assert judge(plan_of(1, 1), nodes, None).exit_code == 1


def test_the_stop_of_an_earlier_controller_counts_as_what_it_was() -> None:
    for reason, code in (("orch stop", 130), ("a rank failed", 1)):
        status = StatusReport("ended", OK, (), reason, 4.0)
        nodes = [node("near", rank(0, TERM, 4.1), stopped_at=4.0, status=status),
                 node("far", rank(1, FAILED, 4.5), stopped_at=6.0)]  # fmt: skip
        assert judge(plan_of(1, 1), nodes, None).exit_code == code


def test_killed_is_killed() -> None:
    assert (
        blamed([node("n0", rank(0, KILL, 1.0)), node("n1", rank(1, FAILED, 1.1))], {1: "own"}) == 0
    )
