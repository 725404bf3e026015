"""Sets of numbers as ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.util.numbers import folded, ranges_of


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([8, 0, 1, 2, 5, 7, 7], "0-2,5,7-8")]
)
def test_folded_joins_consecutive_numbers(numbers: list[int], text: str) -> None:
    assert folded(numbers) == text


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_exactly_the_numbers(numbers: set[int]) -> None:
    assert {n for first, last in ranges_of(numbers) for n in range(first, last + 1)} == numbers
