"""What failed first, also if the times alone do not show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control.first_failure import (
    NodeState,
    ReadSelfReport,
    SelfReport,
    find_first_failure,
)
from orchestrator.control.verdict import find_stop, how_stopped, judge
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport
from tests.runs.helpers import ENDED, KILL, OK, RUNNING, TERM, plan_of, rank

FAILED = ProcessEnd(1, None)


def node(
    name: str,
    *ranks: RankReport,
    stopped_at: float | None = None,
    skew: float = 0.0,
    gone: str | None = None,
    status: StatusReport | None = ENDED,
    swept_at: float | None = None,
) -> NodeState:
    return NodeState(name, {r.rank: r for r in ranks}, status, skew, stopped_at, gone, swept_at)


def hearing(accounts: Mapping[int, SelfReport]) -> ReadSelfReport:
    return lambda node, rank: accounts.get(rank.rank, "")


def first_of(nodes: list[NodeState], accounts: Mapping[int, SelfReport]) -> int | str | None:
    """Return the rank that failed first, or the node."""
    failure = find_first_failure(nodes, hearing(accounts))
    assert failure is not None
    return failure.node if failure.rank is None else failure.rank


def test_rank_that_lost_others_is_not_first_if_another_failed_by_itself() -> None:
    nodes = [node("n0", rank(0, FAILED, 1.0)), node("n1", rank(1, FAILED, 1.2))]
    assert first_of(nodes, {0: "others", 1: "own"}) == 1
    assert first_of(nodes, {0: "others"}) == 1  # it was killed, so it reports nothing
    assert first_of(nodes, {}) == 0


def test_earliest_rank_is_first_if_all_lost_others() -> None:
    nodes = [node("n0", rank(0, FAILED, 1.0)), node("n1", rank(1, FAILED, 1.2))]
    assert first_of(nodes, {0: "others", 1: "others"}) == 0


def test_gone_node_is_first_if_all_ranks_lost_others() -> None:
    nodes = [node("n0", rank(0, FAILED, 1.0)), node("n1", rank(1), gone="vanished", status=RUNNING)]
    assert first_of(nodes, {0: "others"}) == "n1"
    assert first_of(nodes, {0: "own"}) == 0


def test_rank_stopped_during_its_own_failure_is_first_if_others_lost_it() -> None:
    # It raised, closed its connections, and took seconds to release its GPU.
    nodes = [
        node("n0", rank(0, FAILED, 1.0), stopped_at=2.0),
        node("n1", rank(1, TERM, 2.5), rank(2, TERM, 2.4), stopped_at=2.0),
    ]
    assert first_of(nodes, {0: "others", 1: "own"}) == 1
    assert first_of(nodes, {0: "others"}) == 0


# -- stopped without a failure ----------------------------------------------------------------------

CTRL_C = Stop(StopReason.INTERRUPT)


def stopped_one_after_the_other(failed_at: float, skew: float = 0.0) -> list[NodeState]:
    """Return a node that was stopped at 4, and one that was stopped at 6 after its rank had failed."""
    return [
        node("near", rank(0, TERM, 4.1), stopped_at=4.0),
        node("far", rank(1, FAILED, failed_at + skew), stopped_at=6.0 + skew, skew=skew),
    ]


@pytest.mark.parametrize("stopped", [CTRL_C, Stop(StopReason.TIME_LIMIT, seconds=4)])
@pytest.mark.parametrize("skew", [0.0, -30.0])
def test_rank_that_failed_after_the_first_stop_is_no_failure(stopped: Stop, skew: float) -> None:
    verdict = judge(plan_of(1, 1), stopped_one_after_the_other(4.5, skew), stopped)
    assert (verdict.first_failure, verdict.summary) == (None, "".join(how_stopped(stopped)))


def test_rank_that_failed_before_the_first_stop_is_the_failure() -> None:
    assert judge(plan_of(1, 1), stopped_one_after_the_other(3.0), CTRL_C).exit_code == 1
    assert judge(plan_of(1, 1), stopped_one_after_the_other(3.95), CTRL_C).exit_code == 130


def test_rank_that_failed_before_its_own_stop_for_a_failure_counts() -> None:
    nodes = stopped_one_after_the_other(4.5)
    assert judge(plan_of(1, 1), nodes, None).exit_code == 1


def test_stop_by_an_earlier_controller_keeps_its_reason() -> None:
    for reason, code in ((Stop(StopReason.STOP_REQUEST), 130), (Stop(StopReason.RANK_FAILED), 1)):
        status = StatusReport("ended", OK, (), reason, 4.0)
        nodes = [node("near", rank(0, TERM, 4.1), stopped_at=4.0, status=status),
                 node("far", rank(1, FAILED, 4.5), stopped_at=6.0)]  # fmt: skip
        assert judge(plan_of(1, 1), nodes, None).exit_code == code


def test_killed_rank_is_described_as_killed() -> None:
    assert (
        first_of([node("n0", rank(0, KILL, 1.0)), node("n1", rank(1, FAILED, 1.1))], {1: "own"})
        == 0
    )


# -- launchers -------------------------------------------------------------------------------------


def killed_launcher(at: float, **more: Any) -> StatusReport:
    return StatusReport("ended", KILL, (), launcher_ended=at, **more)


@pytest.mark.parametrize("end", [OK, TERM, FAILED])
def test_killed_launcher_is_first_whatever_its_ranks_do(end: ProcessEnd) -> None:
    nodes = [
        node("n0", rank(0, end, 5.5), status=killed_launcher(5.0)),
        node("n1", rank(1, TERM, 7.0), stopped_at=6.0),
    ]
    verdict = judge(plan_of(1, 1, launcher="torchrun"), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (137, "the launcher on n0 was killed by SIGKILL")


def test_killed_launcher_is_first_before_ranks_that_lost_its_ranks() -> None:
    nodes = [
        node("n0", rank(0, FAILED, 5.2), status=ENDED),
        node("n1", rank(1, OK, 5.5), status=killed_launcher(5.0)),
    ]
    assert first_of(nodes, {0: "own"}) == "n1"


def test_rank_that_failed_before_its_launcher_was_killed_is_first() -> None:
    nodes = [node("n0", rank(0, FAILED, 4.0), rank(1, TERM, 5.5), status=killed_launcher(5.0))]
    assert first_of(nodes, {}) == 0


def test_launcher_killed_after_its_ranks_succeeded_is_no_failure() -> None:
    nodes = [node("n0", rank(0, OK, 4.0), status=killed_launcher(5.0))]
    assert judge(plan_of(1), nodes, None).exit_code == 0


def test_launcher_that_orch_killed_is_not_first() -> None:
    status = killed_launcher(9.0, stopped=Stop(StopReason.INTERRUPT), stopped_at=5.0)
    nodes = [node("n0", rank(0, KILL, 9.0), status=status, stopped_at=5.0)]
    assert judge(plan_of(1), nodes, CTRL_C).summary == "".join(how_stopped(CTRL_C))


def test_launcher_that_failed_before_the_stop_it_caused_is_first() -> None:
    failed = StatusReport("ended", ProcessEnd(2, None), (), launcher_ended=4.0)
    why = Stop(StopReason.LAUNCHER_FAILED)
    nodes = [
        node("n0", status=StatusReport("ended", OK, (), why, 5.0), stopped_at=5.0),
        node("n1", status=replace(failed, stopped=why), stopped_at=5.0),
    ]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (2, "the launcher on n1 exited with 2")


# -- nodes without reports -------------------------------------------------------------------------


def test_node_without_supervisor_is_first_before_ranks_that_lost_others() -> None:
    lost = StatusReport("lost", None, ())
    nodes = [node("n0", rank(0, FAILED, 1.0)), node("n1", rank(1), status=lost)]
    assert first_of(nodes, {0: "others"}) == "n1"
    assert first_of(nodes, {0: "own"}) == 0


def test_rank_that_a_sweep_killed_is_a_victim() -> None:
    lost = StatusReport("lost", None, ())
    nodes = [node("n0", rank(0, KILL, 5.1), status=lost, swept_at=5.0)]
    assert first_of(nodes, {}) == "n0"


@pytest.mark.parametrize(
    "reason",
    [
        Stop(StopReason.RANK_FAILED),
        Stop(StopReason.NODE_FAILED, node="n7"),
        Stop(StopReason.LAUNCHER_FAILED),
    ],
)
def test_requested_stop_is_not_attributed_to_a_node(reason: Stop) -> None:
    status = StatusReport("ended", OK, (), reason, 4.0)
    nodes = [node(name, rank(i, TERM, 4.5), status=status, stopped_at=4.0)
             for i, name in enumerate(("n0", "n1"))]  # fmt: skip
    assert find_stop(nodes) == reason
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (1, f"stopped: {reason}")


def test_unasked_stop_is_found_even_if_requested_stops_were_earlier() -> None:
    by_itself = StatusReport("ended", OK, (), Stop(StopReason.LEASE_EXPIRED, seconds=3), 4.0)
    ordered = StatusReport(
        "ended", OK, (), Stop(StopReason.LEASE_EXPIRED, seconds=3).of_node("n1"), 3.9
    )
    nodes = [
        node("n0", rank(0, TERM, 4.5), status=ordered, stopped_at=3.9),
        node("n1", rank(1, TERM, 4.5), status=by_itself, stopped_at=4.0),
    ]
    assert str(find_stop(nodes)) == "n1 stopped: no contact with a controller for 3 s"
