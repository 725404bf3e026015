"""Who keeps a run that does not get on."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.hangs.snapshot import Frame, StuckConnection
from orchestrator.hangs.suspects import (
    connection_lines,
    find_suspect,
    nodes_by_address,
    stack_lines,
)
from tests.hangs.helpers import ALL_REDUCE, BACKWARD, BARRIER, BATON, LOADER, TRAIN, look, process
from tests.runs.helpers import plan_of

NAMES = {"10.0.0.1": "n0", "10.0.0.2": "n1"}
SYN = StuckConnection(101, True, ("10.0.0.2", 40000), ("10.0.0.1", 29500), 1, 3)
UNACKED = StuckConnection(101, False, ("10.0.0.2", 40001), ("10.0.0.1", 4321), 1000, 4)


def test_the_rank_that_is_in_no_collective_is_named() -> None:
    looks = [
        look("n0", process(0, ALL_REDUCE), process(1, ALL_REDUCE)),
        look("n1", process(2, ALL_REDUCE), process(3, LOADER)),
    ]
    assert stack_lines(looks) == (
        "r[0-2] all_reduce (train.py:88)",
        "r3 next(loader) (data.py:40)",
    )
    want = "r3 next(loader) (data.py:40): r[0-2] wait in all_reduce"
    assert find_suspect(looks, NAMES, {}) == want


def test_one_that_cannot_tell_where_it_is_while_all_others_wait_is_named() -> None:
    stopped = process(1, state="T", why="it is stopped (SIGSTOP, or a debugger)")
    looks = [look("n0", process(0, ALL_REDUCE), stopped)]
    want = "r1 no stack: it is stopped (SIGSTOP, or a debugger): r0 waits in all_reduce"
    assert find_suspect(looks, NAMES, {}) == want


def test_what_the_workers_of_its_data_loader_do_is_told() -> None:
    queue = Frame("get", "/usr/lib/python3.11/multiprocessing/queues.py", 102)
    fetch = Frame("fetch", "/job/data.py", 10)
    fork = Frame("_bootstrap", "/usr/lib/python3.11/multiprocessing/process.py", 314)
    workers = [
        process(1, (fetch, queue, fork, *LOADER), pid=201, is_own=False),
        process(1, (queue, fork, *TRAIN), pid=202, is_own=False),  # idle, forked
        process(1, (queue, fork), pid=203, is_own=False),  # idle, spawned
        process(1, pid=204, is_own=False),
    ]
    looks = [look("n0", process(0, ALL_REDUCE)), look("n1", process(1, LOADER), *workers)]
    want = "r1 next(loader) (data.py:40), below it fetch (data.py:10): r0 waits in all_reduce"
    assert find_suspect(looks, NAMES, {}) == want


def test_one_in_another_collective_is_named() -> None:
    looks = [look("n0", process(0, ALL_REDUCE), process(1, ALL_REDUCE), process(2, BARRIER))]
    want = "r2 barrier (train.py:88): the others wait in all_reduce (train.py:88)"
    assert find_suspect(looks, NAMES, {}) == want
    both = [look("n0", process(0, ALL_REDUCE), process(2, BARRIER))]
    assert find_suspect(both, NAMES, {}).startswith("the ranks wait in different calls: r0 all_")


def test_rank_in_a_call_that_the_others_never_make_is_named_not_those_in_the_backward_pass() -> (
    None
):
    want = "r0 barrier (train.py:88): the others wait in backward (train.py:88)"
    for others in ((1, 2, 3), (1,)):
        waiting = [process(rank, BACKWARD) for rank in others]
        assert find_suspect([look("n0", process(0, BARRIER), *waiting)], NAMES, {}) == want


def test_rank_that_is_in_no_wait_is_named_while_others_are_in_the_backward_pass() -> None:
    looks = [look("n0", process(0, BACKWARD), process(1, BACKWARD), process(2, LOADER))]
    want = "r2 next(loader) (data.py:40): r[0-1] wait in backward"
    assert find_suspect(looks, NAMES, {}) == want


def test_lock_of_a_compiled_extension_is_named_with_the_check_that_finds_it() -> None:
    looks = [look("n0", process(0, BATON), process(1, ALL_REDUCE))]
    told = find_suspect(looks, NAMES, {})
    assert told.startswith("r0 load (train.py:88): waiting for the lock of an extension")
    assert "orch preflight --only sw.lock" in told


def test_one_that_has_ended_is_named() -> None:
    looks = [look("n0", process(0, ALL_REDUCE), process(1, ALL_REDUCE))]
    want = "r2 exited with 0: the others wait for it"
    assert find_suspect(looks, NAMES, {2: "exited with 0"}) == want


def test_nobody_is_blamed_where_all_are_alike() -> None:
    for stack in (ALL_REDUCE, TRAIN):
        looks = [look("n0", process(0, stack), process(1, stack))]
        assert find_suspect(looks, NAMES, {}) == ""
    assert find_suspect([], NAMES, {}) == ""


def test_one_that_is_elsewhere_than_all_others_is_named_though_they_wait_in_no_collective() -> None:
    # What a collective of CUDA ranks looks like: it is `.item()`, in the user's own line, that waits.
    four = [*(process(rank, TRAIN) for rank in range(3)), process(3, LOADER)]
    want = "r3 next(loader) (data.py:40): the others are in train (train.py:88)"
    assert find_suspect([look("n0", *four)], NAMES, {}) == want
    assert find_suspect([look("n0", *four[2:])], NAMES, {}) == ""


def test_a_server_elsewhere_that_does_not_answer_is_named_after_all_else() -> None:
    report = replace(SYN, remote=("34.120.5.6", 443))
    stuck = look("n1", process(1, ALL_REDUCE), stuck=(report,))
    loader = look("n0", process(0, LOADER))
    assert find_suspect([loader, stuck], NAMES, {}).startswith("r0 next(loader)")
    assert find_suspect([stuck], NAMES, {}).startswith("n1 → 34.120.5.6: port 443")


def test_a_connection_that_gets_no_answer_is_named_before_all_else() -> None:
    looks = [
        look("n0", process(0, LOADER)),
        look("n1", process(1, ALL_REDUCE), stuck=(UNACKED, SYN)),
    ]
    want = "n1 → n0: port 29500 of 10.0.0.1 does not answer"
    assert find_suspect(looks, NAMES, {}).startswith(want)
    assert connection_lines(looks, NAMES) == (
        "r1 n1: 1000 bytes to n0 (10.0.0.1:4321) are not acknowledged; sent again 4 times",
        "r1 n1: connecting to n0 (10.0.0.1:29500), no answer; retried 3 times (SYN_SENT)",
    )


def test_data_that_is_not_acknowledged_names_the_pair_and_the_port() -> None:
    looks = [look("n1", process(1, ALL_REDUCE), stuck=(UNACKED,))]
    want = "n1 → n0: packets from port 40001 to port 4321 of 10.0.0.1 are not acknowledged"
    assert find_suspect(looks, NAMES, {}).startswith(want)


def test_where_both_ends_send_in_vain_it_is_the_port_that_was_connected_to() -> None:
    back = StuckConnection(100, False, ("10.0.0.1", 4321), ("10.0.0.2", 40001), 1000, 9)
    looks = [
        look("n0", process(0, ALL_REDUCE), stuck=(back,)),
        look("n1", process(1, ALL_REDUCE), stuck=(UNACKED,)),
    ]
    assert find_suspect(looks, NAMES, {}).startswith(
        "n1 → n0: packets from port 40001 to port 4321"
    )


def test_a_packet_that_got_lost_once_is_nobodys_fault() -> None:
    looks = [look("n1", process(1, LOADER), stuck=(replace(UNACKED, retransmits=1),))]
    assert find_suspect(looks, NAMES, {}) == ""


def test_of_many_connections_a_few_are_told() -> None:
    many = tuple(replace(SYN, remote=("10.0.0.1", port)) for port in range(1, 100))
    told = connection_lines([look("n1", process(1), stuck=many)], NAMES)
    assert (len(told), told[-1]) == (9, "and 91 more")


def test_launchers_are_told_of_where_there_is_no_rank() -> None:
    stack = (Frame("main", "/job/run.py", 3),)
    looks = [look("n0", process(None, stack)), look("n1", process(None, stack))]
    assert stack_lines(looks) == (
        "launcher of n0 main (run.py:3)",
        "launcher of n1 main (run.py:3)",
    )


def test_nodes_are_known_by_their_addresses() -> None:
    plan = plan_of(1, 1)
    assert set(nodes_by_address(plan).values()) == {"n0", "n1"}
