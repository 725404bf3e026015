from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.logs.prefix import Widths, prefix, timestamp
from orchestrator.logs.stream import Stream
from orchestrator.logs.timespec import parse_time

RANK_OUT = Stream("node1", 0, 3, 1, "stdout")
RANK_ERR = Stream("node1", 0, 3, 1, "stderr")
LAUNCHER = Stream("n2", 0, None, None, "stdout")


def test_prefix_has_rank_then_node() -> None:
    assert prefix(RANK_OUT, Widths.of(["node1"], 4)).decode() == "r3 node1 │ "


def test_prefix_columns_are_as_wide_as_the_widest() -> None:
    widths = Widths.of(["node1", "n2"], 128)
    assert prefix(RANK_OUT, widths).decode() == "r3   node1 │ "
    assert prefix(LAUNCHER, widths).decode() == "--   n2    │ "


def test_prefix_of_a_launcher_fits_a_run_of_one_rank() -> None:
    assert prefix(LAUNCHER, Widths.of(["n2"], 1)).decode() == "-- n2 │ "


def test_prefix_with_colour_has_a_red_bar_for_stderr() -> None:
    widths = Widths.of(["node1"], 4)
    assert prefix(RANK_OUT, widths, b"36").decode() == "\x1b[36mr3 node1\x1b[0m │ "
    assert prefix(RANK_ERR, widths, b"36").decode() == ("\x1b[36mr3 node1\x1b[0m \x1b[31m│\x1b[0m ")


def test_prefix_without_colour_is_the_same_for_stdout_and_stderr() -> None:
    widths = Widths.of(["node1"], 4)
    assert prefix(RANK_OUT, widths) == prefix(RANK_ERR, widths)


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kathmandu", "Europe/Berlin"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The time zone of this machine."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_timestamp_is_local_with_milliseconds_and_offset(zone: str) -> None:
    shown = {
        "UTC": b"2026-11-29T14:41:17.029Z",
        "America/New_York": b"2026-11-29T09:41:17.029-05:00",
        "Asia/Kathmandu": b"2026-11-29T20:26:17.029+05:45",
        "Europe/Berlin": b"2026-11-29T15:41:17.029+01:00",
    }
    assert timestamp(1795963277.0295) == shown[zone]


@given(t=st.floats(1e9, 4e9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_timestamp_is_understood_by_parse_time(zone: str, t: float) -> None:
    text = timestamp(t).decode()
    assert t - 0.001 < parse_time(text, now=4e9) <= t + 1e-6
    whole_minute = text[:16]  # as a person types it, who reads it on the same machine
    assert parse_time(whole_minute + text[23:], now=4e9) <= t + 1e-6
