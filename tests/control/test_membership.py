"""Which nodes an elastic run still has, and which ranks wait for those that have left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control.first_failure import NodeState, find_first_failure
from orchestrator.control.membership import Membership
from orchestrator.control.verdict import judge
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Elastic
from orchestrator.reasons import Stop
from orchestrator.remote.reports import ProcessEnd, RankReport, StatusReport
from tests.runs.helpers import ENDED, KILL, OK, RUNNING, plan_of, rank

FAILED = ProcessEnd(1, None)
PLAN = replace(plan_of(1, 1, 1, 1), elastic=Elastic(2, 4, restarts=1))


def members(fewest: int = 2, restarts: int = 1) -> Membership:
    return Membership(PLAN, Elastic(fewest, 4, restarts), {})


def at(number: int, of: int = 4, end: ProcessEnd | None = None, attempt: int = 0) -> RankReport:
    """Return a rank of a job with this world size, the only one of its node."""
    return replace(rank(number, end), local_rank=0, world_size=of, attempt=attempt)


def node(
    number: int,
    *ranks: RankReport,
    gone: str | None = None,
    status: StatusReport | None = RUNNING,
) -> NodeState:
    return NodeState(f"n{number}", {r.rank: r for r in ranks}, status, gone=gone)


def round_of(*numbers: int) -> list[NodeState]:
    """Return these nodes with ranks that were started together."""
    return [node(n, at(i, len(numbers))) for i, n in enumerate(numbers)]


LOST = StatusReport("lost", None, ())
KILLED = StatusReport("ended", KILL, ())
SHUT_DOWN = StatusReport("ended", OK, (), Stop(StopReason.SUPERVISOR_SIGNALLED), 9.0)
LEASE = StatusReport("ended", OK, (), Stop(StopReason.LEASE_EXPIRED, seconds=5), 9.0)
LAUNCHER_FAILED = StatusReport("ended", FAILED, ())
STOPPED = StatusReport("ended", KILL, (), Stop(StopReason.INTERRUPT), 9.0)


@pytest.mark.parametrize(
    ("left", "why"),
    [
        (node(3, gone="vanished"), "vanished"),
        (node(3, at(3, end=KILL), status=KILLED), "lost its launcher to SIGKILL"),
        (node(3, status=LOST), "lost its supervisor: it was killed, or the node has restarted"),
        (node(3, status=SHUT_DOWN), "stopped: the supervisor was asked to stop"),
        (node(3, status=LEASE), "stopped: no contact with a controller for 5 s"),
    ],
)
def test_node_leaves(left: NodeState, why: str) -> None:
    run = members()
    run.update([*round_of(0, 1, 2), left])
    assert run.left == {"n3": why}
    assert run.why_over is None


@pytest.mark.parametrize(
    "there",
    [
        node(3, at(3)),
        node(3, at(3, end=FAILED)),  # its launcher may restart it
        node(3, at(3, end=FAILED), status=LAUNCHER_FAILED),  # which ends all
        node(3, at(3, end=OK), status=ENDED),
        node(3, at(3, end=OK), status=LOST),  # it had finished
        node(3, at(3, end=KILL), status=STOPPED),  # as all nodes were
        node(3, status=None),
    ],
)
def test_node_that_fails_or_is_stopped_has_not_left(there: NodeState) -> None:
    run = members()
    run.update([*round_of(0, 1, 2), there])
    assert run.left == {}


def test_ranks_of_a_larger_world_size_wait_for_the_node_that_left() -> None:
    run = members()
    nodes = round_of(0, 1, 2, 3)
    run.update(nodes)
    assert run.waiting(nodes) == []
    nodes[3] = node(3, gone="vanished")
    run.update(nodes)
    assert [state.name for state, _ in run.waiting(nodes)] == ["n0", "n1", "n2"]
    nodes[0] = node(0, at(0, 4, FAILED))  # it failed, so its launcher restarts it
    assert [state.name for state, _ in run.waiting(nodes)] == ["n1", "n2"]
    nodes[:3] = round_of(0, 1, 2)
    assert run.waiting(nodes) == []


def test_no_rank_waits_for_a_node_that_left_before_the_rendezvous() -> None:
    run = members()
    nodes = [*round_of(0, 1, 2), node(3, gone="vanished", status=None)]
    run.update(nodes)
    assert run.left == {"n3": "vanished"}
    assert run.waiting(nodes) == []


def test_ranks_wait_for_a_node_that_left_after_the_rendezvous() -> None:
    run = members()
    nodes = [*round_of(0, 1, 2, 3)[:3], node(3, gone="vanished", status=None)]
    run.update(nodes)
    assert len(run.waiting(nodes)) == 3


@pytest.mark.parametrize(
    ("others", "failed", "is_missed"),
    [(4, True, True), (4, False, False), (3, True, False)],
    ids=["missed when a launcher fails", "but not yet", "nor once they have restarted"],
)
def test_node_that_left_is_gone_in_the_view_if_others_failed_after_it(
    others: int, failed: bool, is_missed: bool
) -> None:
    run = members()
    nodes = [node(n, at(n, others)) for n in (0, 1)]
    nodes.append(node(2, at(2, others), status=LAUNCHER_FAILED if failed else RUNNING))
    nodes.append(node(3, at(3, end=KILL), status=KILLED))
    run.update(nodes)
    assert run.is_over == failed
    plan, seen = run.view(nodes)
    gone = ["n3"] if is_missed else []
    assert (plan.world_size, [state.name for state in seen]) == (3, [*gone, "n0", "n1", "n2"])
    assert all(seen[0].ranks == {} for _ in gone)


def test_launcher_that_was_stopped_has_not_failed() -> None:
    run = members()
    nodes = [replace(state, stopped_at=9.0) for state in round_of(0, 1, 2, 3)]
    nodes[0] = replace(nodes[0], status=LAUNCHER_FAILED)
    run.update(nodes)
    assert not run.is_over


def test_node_that_left_before_a_restart_is_not_the_first_failure() -> None:
    run = members()
    left = node(3, at(3, end=KILL), status=KILLED)
    run.update([*round_of(0, 1, 2), left])
    now = [*round_of(0, 1, 2)[:2], node(2, at(2, 3, FAILED, attempt=1)), left]
    first_failure = find_first_failure(run.view(now)[1], lambda node, rank: "others")
    assert first_failure is not None
    assert (first_failure.node, first_failure.rank) == ("n2", 2)


def test_remaining_nodes_succeed_if_all_their_ranks_do() -> None:
    run = members()
    done = [node(n, at(n, 3, OK), status=ENDED) for n in (0, 1, 2)]
    left = node(3, at(3), gone="vanished")
    run.update([*round_of(0, 1, 2), left])
    verdict = judge(*run.view([*done, left]), None)
    assert (verdict.exit_code, verdict.summary) == (0, "all 3 ranks succeeded")


def test_run_with_too_few_nodes_fails_with_the_last_that_left() -> None:
    run = members(fewest=3)
    run.update([*round_of(0, 1, 2), node(3, gone="vanished")])
    assert run.why_over is None
    nodes = [*round_of(0, 1, 2)[:2], node(2, gone="vanished too"), node(3, gone="vanished")]
    run.update(nodes)
    assert run.why_over == "2 nodes are left, and the job needs 3"
    verdict = judge(*run.view(nodes), None)
    assert verdict.summary == f"n2 vanished too: {run.why_over}"


def test_run_without_its_main_node_fails() -> None:
    run = members(fewest=1)
    nodes = [node(0, at(0), gone="vanished"), *round_of(0, 1, 2, 3)[1:]]
    nodes[3] = node(3, gone="vanished too")
    run.update(nodes)
    verdict = judge(*run.view(nodes), None)
    assert verdict.summary == "n0 vanished: it was the main node, which the rendezvous needs"


def test_launchers_that_lost_the_main_node_are_not_first() -> None:
    run = members(fewest=1)
    nodes = [node(n, at(n, end=KILL), status=LAUNCHER_FAILED) for n in (1, 2, 3)]
    nodes.insert(0, node(0, at(0), gone="vanished"))
    run.update(nodes)
    first_failure = find_first_failure(run.view(nodes)[1], lambda node, rank: "others")
    assert first_failure is not None
    assert (first_failure.node, first_failure.rank) == ("n0", None)


@pytest.mark.parametrize(
    ("rank", "summary"),
    [
        (
            at(0, 1, KILL),
            "the launcher on n0 exited with 1",
        ),  # which did that, or the controller did
        (at(0, 1, KILL, attempt=1), "rank 0 on n0 was killed by SIGKILL"),  # its last attempt
        (at(0, 1, FAILED), "rank 0 on n0 exited with 1"),
    ],
)
def test_killed_rank_that_may_restart_is_not_the_first_failure(
    rank: RankReport, summary: str
) -> None:
    run = members(fewest=1)
    nodes = [node(0, rank, status=LAUNCHER_FAILED)]
    run.update(nodes)
    assert judge(*run.view(nodes), None).summary == summary


def test_launcher_that_was_killed_is_first_before_ranks_that_lost_each_other() -> None:
    """After SIGTERM, torchrun ends its ranks and exits with 1."""
    run = members(fewest=1)
    nodes = round_of(0, 1, 2)
    nodes[0] = node(0, at(0, 3, FAILED, attempt=1))  # it lost rank 1
    nodes[1] = node(1, at(1, 3, ProcessEnd(None, 15)), status=LAUNCHER_FAILED)
    run.update(nodes)
    first_failure = judge(*run.view(nodes), None, lambda node, rank: "others").first_failure
    assert first_failure is not None
    assert (first_failure.node, first_failure.rank) == ("n1", None)


def test_rank_that_failed_first_is_first_even_if_it_may_restart() -> None:
    run = members(fewest=1)
    nodes = round_of(0, 1, 2)
    nodes[0] = node(0, at(0, 3, FAILED, attempt=1), status=LAUNCHER_FAILED)  # it lost rank 1
    nodes[1] = node(1, at(1, 3, FAILED))
    run.update(nodes)
    states = run.view(nodes)[1]
    first_failure = find_first_failure(
        states, lambda node, rank: "others" if rank.rank == 0 else "own"
    )
    assert first_failure is not None
    assert (first_failure.node, first_failure.rank) == ("n1", 1)


def test_launchers_that_failed_in_the_rendezvous_are_attributed_to_the_last_that_left() -> None:
    run = members(fewest=1)
    nodes = [node(0, at(0, end=KILL), status=LAUNCHER_FAILED), *round_of(0, 1, 2, 3)[1:]]
    for number in (2, 3):
        nodes[number] = replace(nodes[number], gone=f"vanished as number {number}")
        run.update(nodes)
    assert judge(*run.view(nodes), None).summary == "n3 vanished as number 3"


def test_launcher_is_stranded_once_the_main_node_and_all_ranks_have_ended() -> None:
    """A node that was suspended (SIGSTOP) while the others continued and finished without it."""
    run = members()
    nodes = [node(n, at(n, 3, OK), status=ENDED) for n in (0, 1, 2)]
    nodes.append(node(3, at(3, end=FAILED)))
    assert run.are_stranded(nodes)
    assert not run.are_stranded([node(0, at(0, 3, OK)), *nodes[1:]])
    assert not run.are_stranded([*nodes[:3], node(3, at(3))])
    assert not run.are_stranded([node(0, gone="vanished"), *nodes[1:]])


def test_rank_may_restart_up_to_the_limit() -> None:
    run = members(restarts=1)
    assert run.may_restart(at(0))
    assert not run.may_restart(at(0, attempt=1))
