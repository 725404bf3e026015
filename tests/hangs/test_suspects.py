"""What holds up a stalled run."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.hangs.snapshot import Frame, StuckConnection
from orchestrator.hangs.suspects import (
    connection_lines,
    find_suspect,
    nodes_by_address,
    stack_lines,
)
from tests.hangs.helpers import (
    ALL_REDUCE,
    BACKWARD,
    BARRIER,
    BATON,
    LOADER,
    TRAIN,
    process,
    snapshot,
)
from tests.runs.helpers import plan_of

NAMES = {"10.0.0.1": "n0", "10.0.0.2": "n1"}
SYN = StuckConnection(101, True, ("10.0.0.2", 40000), ("10.0.0.1", 29500), 1, 3)
UNACKED = StuckConnection(101, False, ("10.0.0.2", 40001), ("10.0.0.1", 4321), 1000, 4)


def test_suspect_is_the_rank_in_no_collective() -> None:
    snapshots = [
        snapshot("n0", process(0, ALL_REDUCE), process(1, ALL_REDUCE)),
        snapshot("n1", process(2, ALL_REDUCE), process(3, LOADER)),
    ]
    assert stack_lines(snapshots) == (
        "r[0-2] all_reduce (train.py:88)",
        "r3 next(loader) (data.py:40)",
    )
    want = "r3 next(loader) (data.py:40): r[0-2] wait in all_reduce"
    assert find_suspect(snapshots, NAMES, {}) == want


def test_suspect_is_the_rank_without_a_stack_while_others_wait() -> None:
    stopped = process(1, state="T", why="it is stopped (SIGSTOP, or a debugger)")
    snapshots = [snapshot("n0", process(0, ALL_REDUCE), stopped)]
    want = "r1 no stack: it is stopped (SIGSTOP, or a debugger): r0 waits in all_reduce"
    assert find_suspect(snapshots, NAMES, {}) == want


def test_suspect_names_the_work_of_data_loaders() -> None:
    queue = Frame("get", "/usr/lib/python3.11/multiprocessing/queues.py", 102)
    fetch = Frame("fetch", "/job/data.py", 10)
    fork = Frame("_bootstrap", "/usr/lib/python3.11/multiprocessing/process.py", 314)
    workers = [
        process(1, (fetch, queue, fork, *LOADER), pid=201, is_own=False),
        process(1, (queue, fork, *TRAIN), pid=202, is_own=False),  # idle, forked
        process(1, (queue, fork), pid=203, is_own=False),  # idle, spawned
        process(1, pid=204, is_own=False),
    ]
    snapshots = [
        snapshot("n0", process(0, ALL_REDUCE)),
        snapshot("n1", process(1, LOADER), *workers),
    ]
    want = "r1 next(loader) (data.py:40), below it fetch (data.py:10): r0 waits in all_reduce"
    assert find_suspect(snapshots, NAMES, {}) == want


def test_suspect_is_the_rank_in_another_collective() -> None:
    snapshots = [
        snapshot("n0", process(0, ALL_REDUCE), process(1, ALL_REDUCE), process(2, BARRIER))
    ]
    want = "r2 barrier (train.py:88): the others wait in all_reduce (train.py:88)"
    assert find_suspect(snapshots, NAMES, {}) == want
    both = [snapshot("n0", process(0, ALL_REDUCE), process(2, BARRIER))]
    assert find_suspect(both, NAMES, {}).startswith("the ranks wait in different calls: r0 all_")


def test_suspect_is_the_odd_rank_not_those_in_the_backward_pass() -> None:
    want = "r0 barrier (train.py:88): the others wait in backward (train.py:88)"
    for others in ((1, 2, 3), (1,)):
        waiting = [process(rank, BACKWARD) for rank in others]
        assert find_suspect([snapshot("n0", process(0, BARRIER), *waiting)], NAMES, {}) == want


def test_suspect_is_the_rank_that_does_not_wait_for_the_backward_pass() -> None:
    snapshots = [snapshot("n0", process(0, BACKWARD), process(1, BACKWARD), process(2, LOADER))]
    want = "r2 next(loader) (data.py:40): r[0-1] wait in backward"
    assert find_suspect(snapshots, NAMES, {}) == want


def test_suspect_names_the_lock_of_a_compiled_extension() -> None:
    snapshots = [snapshot("n0", process(0, BATON), process(1, ALL_REDUCE))]
    lines = find_suspect(snapshots, NAMES, {})
    assert lines.startswith("r0 load (train.py:88): waiting for the lock of an extension")
    assert "orch preflight --only sw.lock" in lines


def test_suspect_is_the_rank_that_ended() -> None:
    snapshots = [snapshot("n0", process(0, ALL_REDUCE), process(1, ALL_REDUCE))]
    want = "r2 exited with 0: the others wait for it"
    assert find_suspect(snapshots, NAMES, {2: "exited with 0"}) == want


def test_no_suspect_if_all_ranks_are_at_one_location() -> None:
    for stack in (ALL_REDUCE, TRAIN):
        snapshots = [snapshot("n0", process(0, stack), process(1, stack))]
        assert find_suspect(snapshots, NAMES, {}) == ""
    assert find_suspect([], NAMES, {}) == ""


def test_suspect_is_the_only_rank_elsewhere_if_none_is_in_a_collective() -> None:
    # CUDA ranks wait in `.item()`, in the user's own line, not in the collective.
    four = [*(process(rank, TRAIN) for rank in range(3)), process(3, LOADER)]
    want = "r3 next(loader) (data.py:40): the others are in train (train.py:88)"
    assert find_suspect([snapshot("n0", *four)], NAMES, {}) == want
    assert find_suspect([snapshot("n0", *four[2:])], NAMES, {}) == ""


def test_silent_server_is_the_last_suspect() -> None:
    report = replace(SYN, remote=("34.120.5.6", 443))
    stuck = snapshot("n1", process(1, ALL_REDUCE), stuck=(report,))
    loader = snapshot("n0", process(0, LOADER))
    assert find_suspect([loader, stuck], NAMES, {}).startswith("r0 next(loader)")
    assert find_suspect([stuck], NAMES, {}).startswith("n1 → 34.120.5.6: port 443")


def test_unanswered_connection_is_the_first_suspect() -> None:
    snapshots = [
        snapshot("n0", process(0, LOADER)),
        snapshot("n1", process(1, ALL_REDUCE), stuck=(UNACKED, SYN)),
    ]
    want = "n1 → n0: port 29500 of 10.0.0.1 does not answer"
    assert find_suspect(snapshots, NAMES, {}).startswith(want)
    assert connection_lines(snapshots, NAMES) == (
        "r1 n1: 1000 bytes to n0 (10.0.0.1:4321) are not acknowledged; sent again 4 times",
        "r1 n1: connecting to n0 (10.0.0.1:29500), no answer; retried 3 times (SYN_SENT)",
    )


def test_unacknowledged_data_names_the_nodes_and_ports() -> None:
    snapshots = [snapshot("n1", process(1, ALL_REDUCE), stuck=(UNACKED,))]
    want = "n1 → n0: packets from port 40001 to port 4321 of 10.0.0.1 are not acknowledged"
    assert find_suspect(snapshots, NAMES, {}).startswith(want)


def test_unacknowledged_data_of_both_ends_names_the_port_that_listened() -> None:
    back = StuckConnection(100, False, ("10.0.0.1", 4321), ("10.0.0.2", 40001), 1000, 9)
    snapshots = [
        snapshot("n0", process(0, ALL_REDUCE), stuck=(back,)),
        snapshot("n1", process(1, ALL_REDUCE), stuck=(UNACKED,)),
    ]
    assert find_suspect(snapshots, NAMES, {}).startswith(
        "n1 → n0: packets from port 40001 to port 4321"
    )


def test_single_lost_packet_is_no_suspect() -> None:
    snapshots = [snapshot("n1", process(1, LOADER), stuck=(replace(UNACKED, retransmits=1),))]
    assert find_suspect(snapshots, NAMES, {}) == ""


def test_connection_lines_are_limited() -> None:
    many = tuple(replace(SYN, remote=("10.0.0.1", port)) for port in range(1, 100))
    lines = connection_lines([snapshot("n1", process(1), stuck=many)], NAMES)
    assert (len(lines), lines[-1]) == (9, "and 91 more")


def test_stack_lines_show_launchers_if_there_is_no_rank() -> None:
    stack = (Frame("main", "/job/run.py", 3),)
    snapshots = [snapshot("n0", process(None, stack)), snapshot("n1", process(None, stack))]
    assert stack_lines(snapshots) == (
        "launcher of n0 main (run.py:3)",
        "launcher of n1 main (run.py:3)",
    )


def test_nodes_by_address_has_all_nodes() -> None:
    plan = plan_of(1, 1)
    assert set(nodes_by_address(plan).values()) == {"n0", "n1"}
