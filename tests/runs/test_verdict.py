"""Who failed first, and what the run's exit code is."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan import Job, Network, Plan, make_plan
from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport
from orchestrator.runs.verdict import NodeState, Stopped, all_succeeded, find_culprit, judge
from tests.plan.helpers import facts, host

OK, TERM, KILL = ProcessEnd(0, None), ProcessEnd(None, 15), ProcessEnd(None, 9)
ENDED = StatusReport("ended", OK, ())


def plan_of(*devices: int) -> Plan:
    hosts = [host(f"n{i}", devices=count) for i, count in enumerate(devices)]
    network = Network(
        "10.0.0.1", tuple("eth0" for _ in devices), None, tuple(None for _ in devices)
    )
    return make_plan("r", hosts, [facts(h.name) for h in hosts], Job("t.py"), network, 1)


def rank(number: int, end: ProcessEnd | None, at: float = 1.0) -> RankReport:
    return RankReport(number, 0, 0, 100 + number, 0.0, None if end is None else at, end)


def node(
    name: str, *ranks: RankReport, status: StatusReport | None = ENDED, **more: Any
) -> NodeState:
    return NodeState(name, {r.rank: r for r in ranks}, status, **more)


def test_success_is_every_rank_with_zero() -> None:
    nodes = [node("n0", rank(0, OK)), node("n1", rank(1, OK))]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (0, "all 2 ranks succeeded")


def test_the_first_failing_rank_gives_its_own_code() -> None:
    nodes = [node("n0", rank(0, TERM, 5.0)), node("n1", rank(1, ProcessEnd(7, None), 2.0))]
    verdict = judge(plan_of(1, 1), nodes, None)
    assert (verdict.exit_code, verdict.summary) == (7, "rank 1 on n1 exited with 7")


def test_a_signal_counts_as_128_and_its_number() -> None:
    verdict = judge(plan_of(1), [node("n0", rank(0, KILL))], None)
    assert (verdict.exit_code, verdict.summary) == (137, "rank 0 on n0 was killed by SIGKILL")


def test_clock_skew_is_corrected() -> None:
    ahead = node("n0", rank(0, ProcessEnd(1, None), 12.0), clock_skew=10.0)  # truly at 2
    nodes = [ahead, node("n1", rank(1, ProcessEnd(2, None), 5.0))]
    culprit = find_culprit(nodes)
    assert culprit is not None
    assert culprit.rank == 0


def test_who_ends_after_being_told_to_stop_is_a_victim() -> None:
    nodes = [node("n0", rank(0, KILL, 5.0), stopped_at=4.0)]
    assert find_culprit(nodes) is None
    verdict = judge(plan_of(1), nodes, Stopped.by_signal(signal.SIGINT))
    assert (verdict.exit_code, verdict.summary) == (130, "stopped by SIGINT")


def test_ranks_that_save_and_exit_0_when_they_are_stopped_were_interrupted_all_the_same() -> None:
    nodes = [node("n0", rank(0, OK, 5.0), stopped_at=4.0)]
    assert judge(plan_of(1), nodes, Stopped.by_signal(signal.SIGTERM)).exit_code == 143


def test_an_interrupt_after_all_succeeded_changes_nothing() -> None:
    nodes = [node("n0", rank(0, OK, 3.0), stopped_at=4.0)]
    assert judge(plan_of(1), nodes, Stopped.by_signal(signal.SIGINT)).exit_code == 0


def test_a_node_that_stopped_by_itself_says_why() -> None:
    status = StatusReport("ended", OK, (), "no controller was heard of for 3 s", 4.0)
    for end in (OK, TERM, KILL):
        nodes = [node("n0", rank(0, end, 5.0), status=status, stopped_at=4.0)]
        verdict = judge(plan_of(1), nodes, None)
        expected = (1, "n0 stopped: no controller was heard of for 3 s")
        assert (verdict.exit_code, verdict.summary) == expected


def test_a_failure_before_the_interrupt_is_still_the_verdict() -> None:
    nodes = [node("n0", rank(0, ProcessEnd(3, None), 1.0), stopped_at=4.0)]
    assert judge(plan_of(1), nodes, Stopped.by_signal(signal.SIGINT)).exit_code == 3


def test_a_launcher_that_fails_before_any_rank_is_the_culprit() -> None:
    failed = StatusReport("ended", ProcessEnd(2, None), ())
    verdict = judge(plan_of(1), [node("n0", status=failed)], None)
    assert (verdict.exit_code, verdict.summary) == (2, "the launcher on n0 exited with 2")


def test_a_launcher_that_fails_after_all_its_ranks_did_well_is_forgiven() -> None:
    failed = StatusReport("ended", ProcessEnd(1, None), ())
    assert judge(plan_of(1), [node("n0", rank(0, OK), status=failed)], None).exit_code == 0


def test_a_supervisor_that_died_is_a_failure() -> None:
    lost = StatusReport("lost", None, ())
    verdict = judge(plan_of(1), [node("n0", rank(0, None), status=lost)], None)
    assert verdict.exit_code == 1
    assert verdict.summary.startswith("n0 lost its supervisor")


def test_a_rank_that_was_never_seen_is_not_a_success() -> None:
    verdict = judge(plan_of(2), [node("n0", rank(0, OK))], None)
    assert (verdict.exit_code, verdict.summary) == (
        1, "the launcher ended without having started rank 1",
    )  # fmt: skip


def test_a_failure_that_the_launcher_has_made_good_is_forgiven() -> None:
    first, second = ProcessEnd(7, None), OK
    again = [replace(rank(number, second, 9.0), attempt=1) for number in (0, 1)]
    assert judge(plan_of(2), [node("n0", *again)], None).exit_code == 0
    half = [rank(0, first, 1.0), again[1]]
    assert find_culprit([node("n0", *half)]) is None


def test_what_is_left_and_who_is_unknown_is_told() -> None:
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
def test_the_exit_code_is_zero_exactly_when_all_succeeded(
    ends: list[tuple[ProcessEnd, float]],
) -> None:
    nodes = [node(f"n{i}", rank(i, end, at)) for i, (end, at) in enumerate(ends)]
    plan = plan_of(*(1 for _ in ends))
    verdict = judge(plan, nodes, None)
    assert (verdict.exit_code == 0) == all(end.succeeded for end, _ in ends)
    assert (verdict.exit_code == 0) == all_succeeded(plan, nodes)


def test_one_rank_reads_as_one() -> None:
    assert judge(plan_of(1), [node("n0", rank(0, OK))], None).summary == "1 rank succeeded"
