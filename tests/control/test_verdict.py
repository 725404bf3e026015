"""The verdict on a run: what failed first, and the exit code."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control.first_failure import FirstFailure, NodeState, find_first_failure
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.verdict import (
    all_ended,
    all_succeeded,
    find_stop,
    how_stopped,
    judge,
    stopped_code,
)
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Elastic, Plan
from orchestrator.reasons import Stop
from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport
from tests.runs.helpers import ENDED, KILL, OK, TERM, plan_of, rank

CTRL_C = Stop(StopReason.INTERRUPT)


def node(
    name: str, *ranks: RankReport, status: StatusReport | None = ENDED, **more: Any
) -> NodeState:
    return NodeState(name, {r.rank: r for r in ranks}, status, **more)


def test_all_ranks_with_exit_code_zero_succeed() -> None:
    nodes = [node("n0", rank(0, OK)), node("n1", rank(1, OK))]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (0, "all 2 ranks succeeded")


def test_exit_code_is_that_of_the_first_rank_that_failed() -> None:
    nodes = [node("n0", rank(0, TERM, 5.0)), node("n1", rank(1, ProcessEnd(7, None), 2.0))]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (7, "rank 1 on n1 exited with 7")


def test_exit_code_of_a_signal_is_128_plus_its_number() -> None:
    verdict = judge(plan_of(1), [node("n0", rank(0, KILL))], None)
    assert (verdict.exit_code, verdict.summary) == (137, "rank 0 on n0 was killed by SIGKILL")


def test_first_failure_is_by_corrected_clocks() -> None:
    ahead = node(
        "n0", rank(0, ProcessEnd(1, None), 12.0), clock_skew=10.0
    )  # 2 by the controller's clock
    nodes = [ahead, node("n1", rank(1, ProcessEnd(2, None), 5.0))]
    first_failure = find_first_failure(nodes)
    assert first_failure is not None
    assert first_failure.rank == 0


def test_rank_that_ended_after_the_stop_is_a_victim() -> None:
    nodes = [node("n0", rank(0, KILL, 5.0), stopped_at=4.0)]
    assert find_first_failure(nodes) is None
    verdict = judge(plan_of(1), nodes, CTRL_C)
    assert (verdict.exit_code, verdict.summary) == (130, "stopped by an interrupt")


def test_ranks_that_exit_0_when_stopped_were_interrupted() -> None:
    nodes = [node("n0", rank(0, OK, 5.0), stopped_at=4.0)]
    verdict = judge(plan_of(1), nodes, Stop(StopReason.SIGTERM))
    assert (verdict.exit_code, verdict.summary) == (143, "stopped by SIGTERM")


def test_interrupt_after_all_ranks_succeeded_changes_nothing() -> None:
    nodes = [node("n0", rank(0, OK, 3.0), stopped_at=4.0)]
    assert judge(plan_of(1), nodes, CTRL_C).exit_code == 0


def test_node_that_stopped_by_itself_is_reported_with_the_reason() -> None:
    status = StatusReport("ended", OK, (), Stop(StopReason.LEASE_EXPIRED, seconds=3), 4.0)
    for end in (OK, TERM, KILL):
        nodes = [node("n0", rank(0, end, 5.0), status=status, stopped_at=4.0)]
        verdict = judge(plan_of(1), nodes, None)
        expected = (1, "n0 stopped: no contact with a controller for 3 s")
        assert (verdict.exit_code, verdict.summary) == expected


def test_failure_before_an_interrupt_is_the_verdict() -> None:
    nodes = [node("n0", rank(0, ProcessEnd(3, None), 1.0), stopped_at=4.0)]
    assert judge(plan_of(1), nodes, CTRL_C).exit_code == 3


def test_launcher_that_fails_before_any_rank_is_the_first_failure() -> None:
    failed = StatusReport("ended", ProcessEnd(2, None), ())
    verdict = judge(plan_of(1), [node("n0", status=failed)], None)
    assert (verdict.exit_code, verdict.summary) == (2, "the launcher on n0 exited with 2")


def test_launcher_that_fails_after_its_ranks_succeeded_is_no_failure() -> None:
    failed = StatusReport("ended", ProcessEnd(1, None), ())
    assert judge(plan_of(1), [node("n0", rank(0, OK), status=failed)], None).exit_code == 0


def test_dead_supervisor_is_a_failure() -> None:
    lost = StatusReport("lost", None, ())
    verdict = judge(plan_of(1), [node("n0", rank(0, None), status=lost)], None)
    assert verdict.exit_code == 1
    assert verdict.summary.startswith("n0 lost its supervisor")


def test_node_without_files_of_the_run_is_a_failure() -> None:
    absent = StatusReport("absent", None, ())
    verdict = judge(plan_of(1, 1), [node("n0", rank(0, OK)), node("n1", status=absent)], None)
    assert (verdict.exit_code, verdict.summary) == (1, "n1 has no files of this run")


@pytest.mark.parametrize("state", ["lost", "absent"])
def test_dead_supervisor_after_a_stop_is_no_failure(state: str) -> None:
    dead = node("n0", rank(0), status=StatusReport(state, None, ()), stopped_at=4.0)
    assert find_first_failure([dead]) is None
    assert judge(plan_of(1), [dead], CTRL_C).exit_code == 130


def test_gone_node_is_the_first_failure_although_its_end_is_unknown() -> None:
    gone = node("n1", rank(1), status=None, stopped_at=9.0, gone="could not be reached for 60 s")
    verdict = judge(plan_of(1, 1), [node("n0", rank(0, TERM, 9.5), stopped_at=9.0), gone], None)
    assert (verdict.exit_code, verdict.summary) == (1, "n1 could not be reached for 60 s")
    assert (verdict.first_failure, verdict.unknown) == (
        FirstFailure("n1", None, None, gone.gone or ""),
        ("n1",),
    )


def test_rank_that_failed_by_itself_is_first_before_a_gone_node() -> None:
    nodes = [node("n0", rank(0, ProcessEnd(7, None))), node("n1", status=None, gone="is gone")]
    assert judge(plan_of(1, 1), nodes, None).exit_code == 7


@pytest.mark.parametrize("status", [None, StatusReport("lost", None, ())])
def test_node_lost_after_all_ranks_succeeded_changes_nothing(
    status: StatusReport | None,
) -> None:
    nodes = [node("n0", rank(0, OK)), node("n1", rank(1, OK), status=status, gone="is gone")]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.first_failure) == (0, None)


# -- stopped by a request, by the node itself, by another controller ----------------------------


SERVED = plan_of(1, 1, launcher="ray")


def served(launcher: ProcessEnd | None, at: float | None = None, **more: Any) -> NodeState:
    """A node without ranks, whose launcher ended like this."""
    status = replace(ENDED, launcher=launcher, launcher_ended=at)
    return node("n1", status=status, **more)


def test_script_that_is_served_succeeds_although_what_served_it_was_stopped() -> None:
    ran = node("n0", rank(0, OK, 5.0), status=replace(ENDED, launcher=KILL, launcher_ended=6.0),
               stopped_at=5.1)  # fmt: skip
    nodes = [ran, served(TERM, 6.1, stopped_at=5.2)]
    assert all_ended(SERVED, nodes)
    verdict = judge(SERVED, nodes, None)
    assert (verdict.exit_code, verdict.summary) == (0, "the script succeeded")


def test_what_serves_the_script_and_fails_first_is_the_first_failure() -> None:
    ran = node("n0", rank(0, TERM, 7.0), status=replace(ENDED, launcher=TERM), stopped_at=6.5)
    verdict = judge(SERVED, [ran, served(ProcessEnd(1, None), 6.0, stopped_at=6.6)], None)
    assert (verdict.exit_code, verdict.summary) == (1, "the launcher on n1 exited with 1")


def test_what_serves_the_script_may_fail_once_that_has_succeeded() -> None:
    ran = node("n0", rank(0, OK, 5.0), status=replace(ENDED, launcher=TERM), stopped_at=6.5)
    verdict = judge(SERVED, [ran, served(ProcessEnd(1, None), 6.0, stopped_at=6.6)], None)
    assert (verdict.exit_code, verdict.outcome) == (0, "succeeded")


def stopped_there(name: str, number: int, reason: Stop, at: float, **more: float) -> NodeState:
    """Return a node that this controller did not stop; its rank saved and exited with 0."""
    status = replace(ENDED, stopped=reason, stopped_at=at)
    return node(name, rank(number, OK, at + 1), status=status, stopped_at=at, **more)


def test_verdict_on_a_stopped_run_names_who_stopped_it() -> None:
    nodes = [node("n0", rank(0, TERM, 5.0), stopped_at=4.0)]
    verdict = judge(plan_of(1), nodes, Stop(StopReason.STOP_REQUEST))
    assert (verdict.exit_code, verdict.summary) == (130, "stopped by orch stop")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGINT, (130, "stopped by an interrupt")),
        (signal.SIGTERM, (143, "stopped by SIGTERM")),
    ],
)
def test_reason_after_a_detach_is_that_of_the_signal(
    number: signal.Signals, expected: tuple[int, str]
) -> None:
    interrupts = Interrupts()
    interrupts.send(number)
    stop = Stop(interrupts.reason)
    assert (stopped_code(stop), "".join(how_stopped(stop))) == expected


def test_verdict_on_an_interrupt_from_attach() -> None:
    nodes = [node("n0", rank(0, TERM, 5.0), stopped_at=4.0)]
    verdict = judge(plan_of(1), nodes, Stop(StopReason.INTERRUPT))
    assert verdict.summary == "stopped by an interrupt"


@pytest.mark.parametrize(
    ("reason", "by"),
    [
        (Stop(StopReason.INTERRUPT), "an interrupt"),
        (Stop(StopReason.INTERRUPT_TWICE), "an interrupt"),
        (Stop(StopReason.STOP_REQUEST), "orch stop"),
    ],
)
def test_stop_by_the_user_with_an_earlier_controller_is_an_interrupt(reason: Stop, by: str) -> None:
    verdict = judge(plan_of(1), [stopped_there("n0", 0, reason, 4.0)], None)
    assert (verdict.exit_code, verdict.summary) == (130, f"stopped by {by}")


def test_time_limit_has_the_exit_code_of_timeout() -> None:
    nodes = [node("n0", rank(0, TERM, 5.0), stopped_at=4.0)]
    verdict = judge(plan_of(1), nodes, Stop(StopReason.TIME_LIMIT, seconds=90))
    assert (verdict.exit_code, verdict.summary) == (124, "timed out after 90 s")


def test_time_limit_under_an_earlier_controller_is_kept() -> None:
    verdict = judge(
        plan_of(1), [stopped_there("n0", 0, Stop(StopReason.TIME_LIMIT, seconds=0.5), 4.0)], None
    )
    assert (verdict.exit_code, verdict.summary) == (124, "timed out after 0.5 s")


def test_failure_before_the_time_limit_is_the_verdict() -> None:
    nodes = [node("n0", rank(0, ProcessEnd(3, None), 1.0), stopped_at=4.0)]
    assert judge(plan_of(1), nodes, Stop(StopReason.TIME_LIMIT, seconds=4)).exit_code == 3


def test_all_ended_counts_success_and_failure() -> None:
    nodes = [node("n0", rank(0, OK)), node("n1", rank(1, ProcessEnd(3, None)))]
    assert all_ended(plan_of(1, 1), nodes)
    assert not all_ended(plan_of(1, 2), nodes)
    again = plan_of(1, 1, launcher="torchrun", launcher_arguments=("--max-restarts=3",))
    assert not all_ended(again, nodes)  # the rank that failed is about to restart


def test_failure_before_the_stop_by_an_earlier_controller_is_the_verdict() -> None:
    status = replace(ENDED, stopped=Stop(StopReason.RANK_FAILED), stopped_at=4.0)
    nodes = [
        node("n0", rank(0, ProcessEnd(7, None), 3.0), status=status, stopped_at=4.0),
        node("n1", rank(1, TERM, 4.5), status=status, stopped_at=4.0),
    ]
    assert judge(plan_of(1, 1), nodes, None).exit_code == 7


def test_launchers_stopped_after_all_ranks_succeeded_are_a_success() -> None:
    status = replace(ENDED, stopped=Stop(StopReason.LAUNCHER_HANGS), stopped_at=4.0)
    nodes = [node("n0", rank(0, OK, 3.0), status=status, stopped_at=4.0)]
    assert judge(plan_of(1), nodes, None).exit_code == 0


def test_find_stop_is_that_of_the_first_node_that_stopped_by_itself() -> None:
    cause = Stop(StopReason.LEASE_EXPIRED).of_node("n1")
    second = stopped_there("n0", 0, cause, 5.0)
    first = stopped_there("n1", 1, Stop(StopReason.LEASE_EXPIRED), 14.0, clock_skew=10.0)
    assert find_stop([second, first]) == cause
    assert (
        judge(plan_of(1, 1), [second, first], None).summary
        == "n1 stopped: no contact with a controller"
    )
    assert find_stop([node("n0", rank(0, OK))]) is None


def test_rank_that_was_never_seen_is_no_success() -> None:
    verdict = judge(plan_of(2), [node("n0", rank(0, OK))], None)
    assert (verdict.exit_code, verdict.summary) == (
        1, "the launcher ended and did not start rank 1",
    )  # fmt: skip


def test_failure_that_the_launcher_restarted_is_ignored() -> None:
    first, second = ProcessEnd(7, None), OK
    again = [replace(rank(number, second, 9.0), attempt=1) for number in (0, 1)]
    assert judge(plan_of(2), [node("n0", *again)], None).exit_code == 0
    half = [rank(0, first, 1.0), again[1]]
    assert find_first_failure([node("n0", *half)]) is None


def test_verdict_has_leftover_processes_and_unknown_nodes() -> None:
    stuck = StatusReport("ended", OK, (123,))
    nodes = [node("n0", rank(0, OK), status=stuck), node("n1", status=None)]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.left, verdict.unknown) == ({"n0": (123,)}, ("n1",))
    assert verdict.exit_code == 1


ENDS = st.one_of(
    st.integers(0, 255).map(lambda code: ProcessEnd(code, None)),
    st.sampled_from([6, 9, 11, 15]).map(lambda number: ProcessEnd(None, number)),
)


@given(st.lists(st.tuples(ENDS, st.floats(0, 100)), min_size=1, max_size=8))
def test_exit_code_is_zero_exactly_if_all_ranks_succeeded(
    ends: list[tuple[ProcessEnd, float]],
) -> None:
    nodes = [node(f"n{i}", rank(i, end, at)) for i, (end, at) in enumerate(ends)]
    plan = plan_of(*(1 for _ in ends))
    verdict = judge(plan, nodes, None)
    assert (verdict.exit_code == 0) == all(end.succeeded for end, _ in ends)
    assert (verdict.exit_code == 0) == all_succeeded(plan, nodes)


def test_summary_of_one_rank_is_singular() -> None:
    assert judge(plan_of(1), [node("n0", rank(0, OK))], None).summary == "1 rank succeeded"


def test_summary_of_a_script_that_starts_ranks_names_the_script() -> None:
    nodes = [node("n0", rank(0, OK)), node("n1", rank(2, OK))]
    verdict = judge(plan_of(2, 2, launcher="python"), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (0, "the script on all 2 nodes succeeded")
    one = judge(plan_of(2, launcher="python"), nodes[:1], None)
    assert one.summary == "the script succeeded"


def test_launchers_with_unseen_ranks_that_exit_with_0_are_a_success() -> None:
    nodes = [node("n0"), node("n1")]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (
        0, "the launcher succeeded on all 2 nodes; orch did not see its ranks",
    )  # fmt: skip
    for end in (None, ProcessEnd(1, None)):
        other = node("n1", status=StatusReport("ended", end, ()))
        assert judge(plan_of(1, 1), [nodes[0], other], None).exit_code == 1


def elastic_rank(
    number: int, world_size: int, end: ProcessEnd | None, *, began: float, ended: float = 9.0
) -> RankReport:
    return RankReport(
        number, 0, 0, 100, began, None if end is None else ended, end, world_size=world_size
    )


def test_elastic_run_succeeds_with_its_last_round() -> None:
    # Rank 1 of 3 finished early; another one failed, and the two remaining nodes repeated all.
    early = node("n1", elastic_rank(1, 3, OK, began=1.0, ended=2.0))
    nodes = [
        node("n0", elastic_rank(0, 2, OK, began=5.0)),
        early,
        node("n2", elastic_rank(1, 2, OK, began=15.1), clock_skew=10.0),
    ]
    verdict = judge(elastic_plan(), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (0, "all 2 ranks of the last round succeeded")
    stopped = replace(ENDED, stopped=Stop(StopReason.LAUNCHER_HANGS), stopped_at=20.0)
    late = [replace(each, status=stopped, stopped_at=20.0) for each in nodes]
    assert judge(elastic_plan(), late, None).exit_code == 0


def test_elastic_run_has_not_succeeded_before_all_ranks_of_its_last_round() -> None:
    early = node("n1", elastic_rank(1, 3, OK, began=1.0, ended=2.0))
    for last in (None, ProcessEnd(1, None)):
        nodes = [
            node("n0", elastic_rank(0, 2, OK, began=5.0)),
            early,
            node("n2", elastic_rank(1, 2, last, began=5.1)),
        ]
        assert not all_succeeded(elastic_plan(), nodes)


def test_rank_that_succeeded_in_an_earlier_round_does_not_count() -> None:
    early = node("n1", elastic_rank(1, 3, OK, began=1.0, ended=2.0))
    assert not all_succeeded(elastic_plan(), [node("n0", elastic_rank(0, 2, OK, began=5.0)), early])


def elastic_plan() -> Plan:
    return replace(plan_of(1, 1, 1), elastic=Elastic(2, 3))


# -- outcome -------------------------------------------------------------------------------------

LOST = StatusReport("lost", None, ())


@pytest.mark.parametrize(
    ("nodes", "stopped", "outcome"),
    [
        ([node("n0", rank(0, OK))], None, "succeeded"),
        ([node("n0", rank(0, ProcessEnd(7, None)))], None, "failed"),
        ([node("n0", rank(0, KILL))], CTRL_C, "failed"),  # before any node was stopped
        ([node("n0", rank(0, None), status=LOST)], None, "lost"),
        ([node("n0", rank(0, None), status=None, gone="is gone")], None, "lost"),
        ([node("n0", rank(0, None), status=None)], None, "lost"),
        ([node("n0", rank(0, TERM, 5.0), stopped_at=4.0)], CTRL_C, "stopped"),
        (
            [node("n0", rank(0, TERM, 5.0), stopped_at=4.0)],
            Stop(StopReason.STOP_REQUEST),
            "stopped",
        ),
        ([stopped_there("n0", 0, Stop(StopReason.TIME_LIMIT, seconds=3), 4.0)], None, "stopped"),
        ([stopped_there("n0", 0, Stop(StopReason.LEASE_EXPIRED, seconds=3), 4.0)], None, "stopped"),
        ([stopped_there("n0", 0, Stop(StopReason.STALL, text="r0 recv"), 4.0)], None, "failed"),
        ([stopped_there("n0", 0, Stop(StopReason.RANK_FAILED), 4.0)], None, "failed"),
        ([node("n0", status=StatusReport("ended", ProcessEnd(1, None), ()))], None, "failed"),
    ],
)
def test_outcome_of_a_verdict(nodes: list[NodeState], stopped: Stop | None, outcome: str) -> None:
    assert judge(plan_of(1), nodes, stopped).outcome == outcome
