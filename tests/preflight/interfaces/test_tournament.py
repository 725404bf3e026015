"""The rounds of a tournament, and which nodes and pairs are slow in it."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.interfaces.tournament import (
    Pair,
    Suspects,
    localize,
    pair_of,
    retest,
    rounds,
    slow,
)


@given(st.integers(0, 41))
def test_rounds_have_every_pair_once_and_no_node_twice_in_a_round(n: int) -> None:
    found = rounds(n, most=100)
    assert len(found) == (0 if n < 2 else n - 1 + n % 2)
    assert sorted(pair for one in found for pair in one) == list(combinations(range(n), 2))
    for one in found:
        assert len({node for pair in one for node in pair}) == 2 * (n // 2)


@given(st.integers(2, 200), st.integers(1, 16))
def test_rounds_with_a_limit_give_every_node_as_many_partners(n: int, most: int) -> None:
    found = rounds(n, most)
    assert len(found) <= most
    pairs = [pair for one in found for pair in one]
    assert len(set(pairs)) == len(pairs)
    assert all(sum(node in pair for pair in pairs) >= len(found) - 1 for node in range(n))


def values(n: int, *slow_ones: int | Pair) -> dict[Pair, float]:
    """All pairs of `n` at about 100, those of slow nodes, and slow pairs, at 20."""
    return {
        pair: 20.0 if pair in slow_ones or set(pair) & set(slow_ones) else 100.0 + sum(pair) % 7
        for pair in combinations(range(n), 2)
    }


@given(st.integers(3, 20), st.data())
def test_slow_of_three_or_more_nodes_finds_the_slow_one(n: int, data: st.DataObject) -> None:
    node = data.draw(st.integers(0, n - 1))
    assert slow(values(n, node)) == Suspects(nodes=(node,))


@given(st.integers(4, 20), st.data())
def test_slow_finds_a_slow_pair_without_its_nodes(n: int, data: st.DataObject) -> None:
    pair = data.draw(st.sampled_from(list(combinations(range(n), 2))))
    assert slow(values(n, pair)) == Suspects(pairs=(pair,))


@given(st.integers(5, 20), st.data())
def test_slow_finds_any_minority_of_slow_nodes(n: int, data: st.DataObject) -> None:
    nodes = data.draw(st.sets(st.integers(0, n - 1), max_size=(n - 1) // 2))
    assert slow(values(n, *nodes)).nodes == tuple(sorted(nodes))


def test_slow_finds_a_slow_node_and_another_slow_pair() -> None:
    assert slow(values(7, 3, (1, 5))) == Suspects((3,), ((1, 5),))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8])
def test_slow_of_equal_values_is_empty(n: int) -> None:
    assert not slow(values(n))
    assert not slow(dict.fromkeys(combinations(range(n), 2), 0.0))


def test_slow_of_two_nodes_is_empty() -> None:
    assert not slow({(0, 1): 0.1})


@given(st.integers(3, 24), st.data())
def test_retest_gives_each_suspect_a_good_partner(n: int, data: st.DataObject) -> None:
    nodes = data.draw(st.sets(st.integers(0, n - 1), max_size=(n - 1) // 2))
    pairs = st.sampled_from(list(combinations(range(n), 2)))
    accused = data.draw(st.sets(pairs.filter(lambda pair: not set(pair) & nodes), max_size=3))
    measured = values(n, *nodes, *accused)
    again = retest(Suspects(tuple(nodes), tuple(accused)), measured)
    for one in again:
        assert len({node for pair in one for node in pair}) == 2 * len(one)
    tried = [pair for one in again for pair in one]
    assert accused <= set(tried)
    for node in nodes:
        [partner] = [next(iter(set(pair) - {node})) for pair in tried if node in pair]
        assert partner not in nodes


def test_retest_prefers_partners_outside_slow_pairs() -> None:
    assert retest(Suspects((4,), ((0, 1),)), values(5, 4, (0, 1))) in (
        [((2, 4), (0, 1))],
        [((3, 4), (0, 1))],
    )


def test_retest_may_use_pairs_not_measured_before() -> None:
    partly = {(0, 1): 100.0, (2, 3): 20.0, (4, 5): 100.0}
    assert [pair_of(*pair) for one in retest(Suspects((2, 3)), partly) for pair in one] == [
        (0, 2),
        (1, 3),
    ]


def test_retest_without_suspects_is_empty() -> None:
    assert retest(Suspects(), values(4)) == []


@pytest.mark.parametrize(
    ("bad", "nodes", "pairs"),
    [
        ([], (), ()),
        ([(0, 2), (1, 2), (2, 3)], (2,), ()),
        ([(1, 3)], (), ((1, 3),)),
        ([(0, 1), (0, 2), (0, 3), (1, 2)], (0,), ((1, 2),)),
        (list(combinations(range(4), 2)), (0, 1, 2, 3), ()),
    ],
)
def test_localize_finds_nodes_bad_in_all_pairs_and_the_other_pairs(
    bad: list[Pair], nodes: tuple[int, ...], pairs: tuple[Pair, ...]
) -> None:
    assert localize(bad, list(combinations(range(4), 2))) == Suspects(nodes, pairs)
