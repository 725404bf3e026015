from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from orchestrator.logs.timespec import parse_time

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is an hour ahead of UTC in winter; it is 13:00 there."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h30m", 9000), ("1d", 86_400), ("1w", 604_800), ("1.5h", 5400)],
)
def test_duration_is_that_long_ago(text: str, seconds: float) -> None:
    assert parse_time(text, NOW) == NOW - seconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12:05", "2026-01-31T11:05:00Z"),
        (" 9:05:30 ", "2026-01-31T08:05:30Z"),
        ("13:00", "2026-01-31T12:00:00Z"),
        ("14:05", "2026-01-30T13:05:00Z"),  # it is not that late yet
        ("11:59:30Z", "2026-01-31T11:59:30Z"),
        ("12:05Z", "2026-01-30T12:05:00Z"),
        ("1:30+02:00", "2026-01-30T23:30:00Z"),
        ("23:00-11:00", "2026-01-31T10:00:00Z"),  # there it is still yesterday
        ("2026-01-30", "2026-01-29T23:00:00Z"),
        ("2025-07-01", "2025-06-30T22:00:00Z"),
        ("2026-01-31T09:30", "2026-01-31T08:30:00Z"),
        ("2026-01-31 09:30:15", "2026-01-31T08:30:15Z"),
        ("2026-01-31T09:30:00.125Z", "2026-01-31T09:30:00.125Z"),
        ("2026-01-31T09:30+05:30", "2026-01-31T04:00:00Z"),
    ],
)
def test_time_is_local_unless_it_has_a_zone(text: str, moment: str) -> None:
    assert parse_time(text, NOW) == datetime.fromisoformat(moment).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "10", "m", "10 m", "30m2h", "-5m", "25:00", "12:60", "2026-02-30", "yesterday"),
        *(
            "12:05+25:00",
            "2026-01-31T",
            "2026-01-31Z",
            "20260131",
            "99999999w",
            "٣m",
            "12:05z",
            "0000-01-01",
        ),
    ],
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a moment; write how long ago it is \(90s, 10m"):
        parse_time(text, NOW)
