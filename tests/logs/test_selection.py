from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.selection import RankSet, Selection
from orchestrator.logs.stream import Stream


def test_rank_set_has_numbers_and_ranges() -> None:
    ranks = RankSet.parse("0, 4-7")
    assert [rank for rank in range(10) if rank in ranks] == [0, 4, 5, 6, 7]
    assert str(ranks) == "0,4-7"


def test_rank_set_never_has_the_launcher() -> None:
    assert None not in RankSet.parse("0-9999999")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted), min_size=1))
def test_rank_set_has_what_its_ranges_have(ranges: list[list[int]]) -> None:
    ranks = RankSet.parse(",".join(f"{first}-{last}" for first, last in ranges))
    expected = {rank for first, last in ranges for rank in range(first, last + 1)}
    assert {rank for rank in range(60) if rank in ranks} == expected
    assert RankSet.parse(str(ranks)) == ranks


def test_rank_set_accepts_a_huge_range() -> None:
    assert 5_000_000 in RankSet.parse("0-9999999")


@pytest.mark.parametrize("text", ["", ",", "0,", "a", "-1", "1-", "1-2-3", "0x1", "٣", "1" * 8])
def test_rank_set_of_invalid_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rank or a range of ranks; write numbers"):
        RankSet.parse(text)


def test_rank_set_with_a_reversed_range_is_refused() -> None:
    with pytest.raises(ValueError, match="'7-4' is reversed; write 4-7"):
        RankSet.parse("0,7-4")


def test_rank_set_of_a_long_text_is_refused() -> None:
    with pytest.raises(ValueError, match="a rank set of 20001 characters is too long"):
        RankSet.parse("1," * 10_000 + "1")


@given(st.sets(st.integers(0, 60)))
def test_rank_set_has_as_few_ranges_as_possible(ranks: set[int]) -> None:
    held = RankSet.of(ranks)
    assert {rank for rank in range(61) if rank in held} == ranks
    assert all(b + 1 < c for (_, b), (c, _) in pairwise(held.ranges))


def test_selection_filters_by_ranks_nodes_and_channel() -> None:
    rank3, launcher = Stream("a", 0, 3, 3, "stderr"), Stream("b", 0, None, None, "stdout")

    def selected(selection: Selection) -> list[Stream]:
        return [stream for stream in (rank3, launcher) if stream in selection]

    assert selected(Selection()) == [rank3, launcher]
    assert selected(Selection(ranks=RankSet.parse("0-9"))) == [rank3]
    assert selected(Selection(nodes=frozenset({"b", "c"}))) == [launcher]
    assert selected(Selection(channel="stderr")) == [rank3]
    assert selected(Selection(ranks=RankSet.parse("0-9"), nodes=frozenset({"b"}))) == []
