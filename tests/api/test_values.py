"""Values of options that Typer does not know."""

from __future__ import annotations

import re

import pytest

from orchestrator.api.values import number_or_auto, parse_size, seconds, value_of
from orchestrator.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("500M", 500_000_000), ("1.5 GB", 1_500_000_000), ("2Ki", 2048)],
)
def test_parse_size_reads_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "10 X", "1e9", "1.2.3M", "10GBs"])
def test_parse_size_refuses_invalid_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_value_of_reports_the_option_of_an_invalid_value() -> None:
    assert value_of("--larger-than", None, parse_size) is None
    assert value_of("--larger-than", "1k", parse_size) == 1000
    with pytest.raises(UsageError, match="--larger-than: 'x' is not a size"):
        value_of("--larger-than", "x", parse_size)


def test_number_or_auto_accepts_numbers_in_range_and_auto() -> None:
    assert number_or_auto("--nproc", None, 8) is None
    assert number_or_auto("--nproc", "auto", 8) == "auto"
    assert number_or_auto("--nproc", "8", 8) == 8
    for wrong in ("0", "9", "two", "-1"):
        with pytest.raises(UsageError, match="a number from 1 to 8, or auto"):
            number_or_auto("--nproc", wrong, 8)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("90s", 90.0),
        ("10m", 600.0),
        ("2h30m", 9000.0),
        (" 1d ", 86400.0),
    ],
)
def test_seconds_reads_numbers_and_units(typed: str, expected: float) -> None:
    assert seconds("--timeout", typed, 1.0) == expected
    assert seconds("--timeout", 3.0, 1.0) == 3.0
    assert seconds("--timeout", None, 1.0) is None


@pytest.mark.parametrize(
    "typed", ["", "0.5", "-1", "1x", "m", "1e3", "nan", "inf", "٣", "99w" * 99]
)
def test_seconds_refuses_invalid_text_with_its_option(typed: str) -> None:
    with pytest.raises(
        UsageError, match=f"--timeout {re.escape(typed)}: expected a time of at least 1 s"
    ):
        seconds("--timeout", typed, 1.0)
