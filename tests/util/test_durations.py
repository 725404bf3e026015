"""Durations as text."""

from __future__ import annotations

import pytest

from orchestrator.util.durations import age


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (200000, "2 d")],
)
def test_age_has_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text
