"""The order of hits, and what the ranks show together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.diagnose import Evidence, Exit, Kind, Source, diagnose

LOST_PEER = b"RuntimeError: [pair.cc:553] Connection closed by peer [10.0.0.17]:4711\n"
ROOT_CAUSE = (
    b'Traceback (most recent call last):\n  File "train.py", line 88, in step\nValueError: bad\n'
)


def at(seconds: float) -> Callable[[int], float | None]:
    return lambda offset: seconds


def test_diagnose_63_ranks_that_lost_a_peer_are_one_hit_after_the_root() -> None:
    sources = [
        (
            Source(f"rank-{rank}.err", rank, f"node{rank // 8}"),
            [ROOT_CAUSE if rank == 17 else LOST_PEER],
        )
        for rank in range(64)
    ]
    root, cascade = diagnose(sources).hits
    assert (root.kind, root.ranks, root.nodes) == (Kind.ROOT, (17,), ("node2",))
    assert (cascade.kind, len(cascade.ranks), cascade.count) == (Kind.CASCADE, 63, 63)


def test_diagnose_with_times_puts_the_earlier_root_first() -> None:
    late = (Source("rank-0.err", 0, clock=at(2.0)), [b"Too many open files\n"])
    early = (Source("rank-1.err", 1, clock=at(1.0)), [b"No space left on device\n"])
    assert [hit.ranks for hit in diagnose([late, early]).hits] == [(1,), (0,)]


def test_diagnose_puts_the_rank_that_failed_first_before_earlier_problems() -> None:
    survived = (Source("rank-0.err", 0, clock=at(1.0)), [b"Too many open files\n"])
    fatal = (Source("rank-1.err", 1, clock=at(9.0)), [b"No space left on device\n"])
    ends = (Exit(0, -6, time=9.2), Exit(1, 1, time=9.1, first=True))
    hits = diagnose([survived, fatal], Evidence(exits=ends)).hits
    assert [hit.ranks for hit in hits[:2]] == [(1,), (0,)]


def test_diagnose_without_times_keeps_the_order_of_reading() -> None:
    first = (Source("rank-0.err", 0), [b"Too many open files\n"])
    second = (Source("rank-1.err", 1, clock=at(1.0)), [b"No space left on device\n"])
    assert [hit.ranks for hit in diagnose([first, second]).hits] == [(0,), (1,)]


def test_diagnose_puts_the_first_failure_of_a_launcher_first() -> None:
    summary = b"Root Cause (first observed failure):\n[0]:\n  rank      : 1 (local_rank: 1)\n"
    summary += b"  exitcode  : 1 (pid: 14)\n=====\n"
    sources = [
        (Source("rank-0.err", 0), [b"Too many open files\n"]),
        (Source("rank-1.err", 1), [b"No space left on device\n"]),
        (Source("launcher.err"), [summary]),
    ]
    assert [hit.ranks for hit in diagnose(sources).hits] == [(1,), (0,)]


def test_diagnose_orders_by_the_time_in_a_line() -> None:
    log = (
        "2026-01-31T09:30:02.000Z r0 node0 │ Too many open files\n"
        "2026-01-31T09:30:01.000Z r1 node1 │ No space left on device\n"
    )
    assert [hit.ranks for hit in diagnose([(Source("log"), [log.encode()])]).hits] == [(1,), (0,)]


def collective(rank: int, number: int) -> bytes:
    return (
        b"[rank%d]:[E1 ProcessGroupNCCL.cpp:607] [Rank %d] Watchdog caught collective operation timeout: "
        b"WorkNCCL(SeqNum=%d, OpType=ALLREDUCE, NumelIn=1) ran for 600060 milliseconds\n"
    ) % (rank, rank, number)


def test_watchdog_cause_names_the_rank_that_is_behind() -> None:
    log = [collective(rank, 1577 if rank == 3 else 1580) for rank in range(8)]
    (hit,) = diagnose([(Source("log"), log)]).hits
    assert "rank 3 is at ALLREDUCE number 1577" in hit.cause


def test_watchdog_cause_names_no_rank_if_all_are_at_one_collective() -> None:
    (hit,) = diagnose([(Source("log"), [collective(rank, 7) for rank in range(8)])]).hits
    assert "is at" not in hit.cause


def test_watchdog_numbers_of_several_process_groups_are_not_compared() -> None:
    log = [collective(0, 9141), collective(4, 12).replace(b"[Rank 4]", b"[Rank 1]")]
    (hit,) = diagnose([(Source("log"), log)]).hits
    assert "is at" not in hit.cause


def member(rank: int) -> bytes:
    return b"Initializing distributed: GLOBAL_RANK: %d, MEMBER: %d/4\n" % (rank, rank + 1)


def test_missing_members_are_a_hint() -> None:
    (hit,) = diagnose([(Source("log"), [member(0), member(2), member(3)])]).hits
    assert (hit.signature.id, hit.kind) == ("training.member-missing", Kind.HINT)


def test_complete_members_are_no_hit() -> None:
    assert diagnose([(Source("log"), map(member, range(4)))]).hits == ()


def test_verdict_is_never_a_hint() -> None:
    assert diagnose([(Source("log"), [b"step 1: loss=nan\n"])]).verdict is None


def _timeout(rank: int, number: int, operation: str, size: int) -> str:
    return (
        f"[rank{rank}]:[E1 ProcessGroupNCCL.cpp:565] [Rank {rank}] Watchdog caught collective operation "
        f"timeout: WorkNCCL(SeqNum={number}, OpType={operation}, NumelIn={size}, NumelOut=8, "
        "Timeout(ms)=1800000) ran for 1800007 milliseconds before timing out.\n"
    )


def test_ranks_that_call_different_collectives_are_named() -> None:
    text = _timeout(0, 9, "ALLREDUCE", 40) + _timeout(1, 9, "_ALLGATHER_BASE", 7)
    verdict = diagnose([(Source("log"), [text.encode()])]).verdict
    assert verdict is not None
    assert (
        "rank 0 calls ALLREDUCE of 40 elements, rank 1 calls _ALLGATHER_BASE of 7" in verdict.cause
    )


@pytest.mark.parametrize(("operation", "size"), [("ALLREDUCE", 40), ("SEND", 3)])
def test_ranks_that_may_differ_are_not_named(operation: str, size: int) -> None:
    text = _timeout(0, 9, operation, 40) + _timeout(1, 9, operation, size)
    verdict = diagnose([(Source("log"), [text.encode()])]).verdict
    assert verdict is not None and "different paths" not in verdict.cause
