"""Ranks that hold up the others are found by samples, stacks and round trips, and no others are."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import NodeError
from orchestrator.hangs.snapshot import parse_snapshot
from orchestrator.hangs.stragglers import (
    KINDS,
    Confirmation,
    Interval,
    RoundTrips,
    Suspect,
    find_suspects,
    parse_activity,
    waits_of,
)
from orchestrator.util.answers import parse_answer

C10D = "/site-packages/torch/distributed/distributed_c10d.py"
ENGINE = "/site-packages/torch/autograd/graph.py"

# Recorded: samples of the ranks' main threads in ten seconds of DDP with gloo, 4 ranks on one machine.
EVEN = {
    0: {"sleep": 47, "lock": 6, "run": 7},
    1: {"sleep": 48, "lock": 5, "run": 7},
    2: {"sleep": 43, "run": 11, "lock": 6},
    3: {"sleep": 46, "lock": 9, "run": 5},
}
COMPUTES = {
    0: {"lock": 40, "run": 15, "sleep": 1},
    1: {"lock": 40, "run": 15, "sleep": 1},
    2: {"run": 54, "sleep": 2},
    3: {"lock": 42, "sleep": 1, "run": 13},
}
SLEEPS = {
    0: {"sleep": 16, "lock": 43, "run": 1},
    1: {"sleep": 17, "lock": 43},
    2: {"sleep": 54, "run": 5, "lock": 1},
    3: {"sleep": 17, "lock": 43},
}
LOADS = {
    0: {"sleep": 9, "lock": 45, "run": 5},
    1: {"sleep": 9, "lock": 45, "run": 5},
    2: {"poll": 40, "sleep": 15, "lock": 2, "run": 2},
    3: {"sleep": 10, "lock": 45, "run": 4},
}


@pytest.mark.parametrize(
    ("samples", "kind", "does"),
    [(COMPUTES, "run", "computes"), (SLEEPS, "sleep", "sleeps"), (LOADS, "poll", "waits for data")],
)
def test_rank_that_waits_least_is_suspected(samples: Interval, kind: str, does: str) -> None:
    (suspect,) = find_suspects([samples, samples])
    assert (suspect.rank, suspect.kind, suspect.does) == (2, kind, does)
    assert 0.5 < suspect.share < 0.8


def test_ranks_that_do_the_same_are_not_suspected() -> None:
    assert find_suspects([EVEN, EVEN, EVEN]) == []
    assert find_suspects([]) == []
    assert find_suspects([{0: COMPUTES[0]}]) == []


def test_suspicion_needs_most_intervals() -> None:
    assert find_suspects([COMPUTES, EVEN, EVEN, EVEN]) == []


def test_lost_share_leaves_out_the_time_before_the_first_step() -> None:
    starting = {rank: {"run": 60} for rank in range(4)}
    (alone,) = find_suspects([COMPUTES] * 3)
    (suspect,) = find_suspects([starting, COMPUTES, COMPUTES, COMPUTES])
    assert suspect.share == pytest.approx(alone.share)


def test_two_slow_ranks_of_sixteen_are_both_suspected() -> None:
    interval = {rank: COMPUTES[2 if rank in (3, 9) else 0] for rank in range(16)}
    assert {each.rank for each in find_suspects([interval] * 3)} == {3, 9}


def drawn(shares: Mapping[str, float], number: int, source: random.Random) -> dict[str, int]:
    kinds = source.choices(list(shares), list(shares.values()), k=number)
    return {kind: kinds.count(kind) for kind in set(kinds)}


@pytest.mark.parametrize("ranks", [4, 16])
def test_chance_rarely_makes_a_suspect(ranks: int) -> None:
    source = random.Random(56)
    shares = {"run": 0.4, "lock": 0.4, "sleep": 0.2}
    found = 0
    for _ in range(100):
        intervals = [{rank: drawn(shares, 20, source) for rank in range(ranks)} for _ in range(8)]
        found += bool(find_suspects(intervals))
    assert found <= 10  # stacks then refute them


def test_waits_are_the_least_share_of_any_rank() -> None:
    assert waits_of([COMPUTES]) == 0.0
    assert waits_of([{0: {"lock": 3, "run": 1}, 1: {"lock": 1, "run": 1}}]) == 0.5
    assert waits_of([]) == 0.0


# -- stacks --


def stacks(*calls: tuple[str, str]) -> Any:
    """A snapshot of one node, with a rank in each of these calls."""
    processes = [
        {
            "pid": 10 + rank, "rank": rank, "own": True, "name": "python", "state": "S", "used": 1.0,
            "main_used": 1.0, "moved": 0, "by": "signal", "why": "",
            "threads": [
                {"name": "MainThread", "main": True,
                 "frames": [[call, file, 7], ["train", "/job/train.py", 88]]}
            ] if call else [],
        }
        for rank, (call, file) in enumerate(calls)
    ]  # fmt: skip
    return parse_snapshot("n0", {"at": 1.0, "processes": processes, "sockets": []})


WAITS, LOADING = ("all_reduce", C10D), ("load", "/job/train.py")
BACKWARD = ("_engine_run_backward", ENGINE)


def test_rank_for_which_the_others_wait_again_and_again_is_confirmed() -> None:
    confirmation = Confirmation()
    for _ in range(5):
        assert not confirmation.confirms(1)
        confirmation.add([stacks(WAITS, LOADING, WAITS, WAITS)])
        confirmation.add([stacks(WAITS, WAITS, WAITS, WAITS)])
    assert confirmation.confirms(1)
    assert not confirmation.confirms(0)
    assert confirmation.place(1) == "load (train.py:7)"


def test_place_is_where_the_others_are_less_often() -> None:
    confirmation = Confirmation()
    common = ("step", "/job/train.py")  # all ranks come here, and the slow one last
    for _ in range(5):
        confirmation.add([stacks(common, LOADING, common, common)])
        confirmation.add([stacks(WAITS, common, WAITS, WAITS)])
        confirmation.add([stacks(WAITS, common, WAITS, WAITS)])
        confirmation.add([stacks(WAITS, LOADING, WAITS, WAITS)])
    assert confirmation.place(1) == "load (train.py:7)"


def test_one_long_wait_is_not_confirmed() -> None:
    confirmation = Confirmation()
    for _ in range(24):  # a checkpoint of rank 0
        confirmation.add([stacks(LOADING, WAITS, WAITS, WAITS)])
    assert not confirmation.confirms(0)


def test_ranks_that_wait_for_each_other_in_turn_are_not_confirmed() -> None:
    confirmation = Confirmation()
    for turn in range(24):
        confirmation.add([stacks(*(LOADING if turn % 4 == rank else WAITS for rank in range(4)))])
    assert not any(map(confirmation.confirms, range(4)))


def test_lone_rank_is_found_among_gpu_ranks_that_wait_in_another_call() -> None:
    confirmation = Confirmation()
    elsewhere = ("item", "/job/train.py")
    for _ in range(6):
        confirmation.add([stacks(elsewhere, elsewhere, LOADING, elsewhere)])
        confirmation.add([stacks(elsewhere, elsewhere, elsewhere, elsewhere)])
    assert confirmation.confirms(2)


def test_without_stacks_only_a_large_share_counts() -> None:
    confirmation = Confirmation()
    confirmation.add([stacks(("", ""), ("", ""))])
    assert confirmation.leaves_open(Suspect(1, "run", 0.3))
    assert not confirmation.leaves_open(Suspect(1, "run", 0.1))
    assert confirmation.place(1) == ""


def test_slow_backward_pass_is_left_to_the_samples() -> None:
    confirmation = Confirmation()
    for _ in range(10):
        confirmation.add([stacks(BACKWARD, BACKWARD, BACKWARD)])
    assert not confirmation.confirms(1)
    assert confirmation.leaves_open(Suspect(1, "run", 0.4))
    assert not confirmation.leaves_open(Suspect(1, "sleep", 0.4))


# -- the network --


def activity(node: int, rtts: Mapping[int, float], acked: int) -> Any:
    paths = [
        {"pid": 1, "local": f"10.0.0.{node}", "remote": f"10.0.0.{other}", "ports": [1, 2], "rtt": rtt,
         "min_rtt": rtt, "acked": acked}
        for other, rtt in rtts.items()
    ]  # fmt: skip
    return parse_activity({"ranks": [], "paths": paths})


def trips(slow: Sequence[int], nodes: int = 4, sends: int = 5000) -> RoundTrips:
    """The round trips of a ring of nodes, some of them with 50 ms on their way."""
    found = RoundTrips()
    for turn in range(5):
        found.add(
            {
                f"n{node}": activity(
                    node,
                    {
                        other: 0.05 if node in slow or other in slow else 0.0002
                        for other in {(node + 1) % nodes, (node - 1) % nodes}
                    },
                    turn * sends,
                )
                for node in range(nodes)
            }
        )
    return found


def test_node_with_slow_connections_is_named_with_its_round_trip() -> None:
    slow = trips([1]).find_slow()
    assert slow is not None
    assert slow.nodes == ("n1",)
    assert (
        str(slow) == "its network is slow: a round trip takes 50 ms, and 0.2 ms between the others"
    )


def test_network_between_two_nodes_names_both() -> None:
    slow = trips([1], nodes=2).find_slow()
    assert slow is not None
    assert slow.nodes == ("n0", "n1")
    assert str(slow) == "the network between them is slow: a round trip takes 50 ms"


@pytest.mark.parametrize("slow", [[], [0, 1, 2, 3]])
def test_network_that_is_the_same_everywhere_names_no_node(slow: list[int]) -> None:
    assert trips(slow).find_slow() is None
    assert trips([], nodes=2).find_slow() is None


def test_connections_that_are_not_used_do_not_count() -> None:
    assert trips([1], sends=0).find_slow() is None


# -- what a node may send --

RANK = {"rank": 0, "pid": 7, "kinds": {"run": 3}}
PATH = {
    "pid": 7,
    "local": "10.0.0.1",
    "remote": "10.0.0.2",
    "ports": [1, 2],
    "rtt": 0.1,
    "min_rtt": 0.1,
    "acked": 9,
}


@pytest.mark.parametrize(
    "answer",
    [
        None, [], {}, {"ranks": [], "paths": None}, {"ranks": None, "paths": []},
        {"ranks": [RANK] * 300, "paths": []}, {"ranks": [], "paths": [PATH] * 600},
        {"ranks": [{**RANK, "kinds": {"\x1b[31m": 1}}], "paths": []},
        {"ranks": [{**RANK, "kinds": {"run": -1}}], "paths": []},
        {"ranks": [{**RANK, "kinds": {"run": 1e9}}], "paths": []},
        {"ranks": [{**RANK, "kinds": {"run": 1 << 63}}], "paths": []},
        {"ranks": [{**RANK, "kinds": [1]}], "paths": []},
        {"ranks": [{**RANK, "rank": 1 << 40}], "paths": []},
        {"ranks": [], "paths": [{**PATH, "rtt": float("nan")}]},
        {"ranks": [], "paths": [{**PATH, "min_rtt": -1.0}]},
        {"ranks": [], "paths": [{**PATH, "local": 7}]},
        {"ranks": [], "paths": [{**PATH, "ports": [1]}]},
        {"ranks": [], "paths": [{**PATH, "ports": [1, 70000]}]},
    ],
)  # fmt: skip
def test_invalid_activity_of_a_node_is_refused(answer: Any) -> None:
    with pytest.raises(NodeError, match="invalid answer to 'activity'"):
        parse_answer("n0", "activity", parse_activity, answer)


_KIND = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 1 << 40))


@given(st.lists(st.dictionaries(st.integers(0, 5), _KIND), max_size=5))
def test_any_samples_have_an_answer(intervals: list[dict[int, dict[str, int]]]) -> None:
    for suspect in find_suspects(intervals):
        assert 0 < suspect.share <= 1
    assert 0 <= waits_of(intervals) <= 1
