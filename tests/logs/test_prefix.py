from __future__ import annotations

from orchestrator.logs.prefix import Widths, prefix, timestamp
from orchestrator.logs.stream import Stream

RANK_OUT = Stream("node1", 0, 3, 1, "stdout")
RANK_ERR = Stream("node1", 0, 3, 1, "stderr")
LAUNCHER = Stream("n2", 0, None, None, "stdout")


def test_rank_comes_first_then_host() -> None:
    assert prefix(RANK_OUT, Widths.of(["node1"], 4)).decode() == "r3 node1 │ "


def test_columns_are_as_wide_as_the_widest_of_the_run() -> None:
    widths = Widths.of(["node1", "n2"], 128)
    assert prefix(RANK_OUT, widths).decode() == "r3   node1 │ "
    assert prefix(LAUNCHER, widths).decode() == "--   n2    │ "


def test_a_run_of_one_has_room_for_the_launcher() -> None:
    assert prefix(LAUNCHER, Widths.of(["n2"], 1)).decode() == "-- n2 │ "


def test_colour_paints_the_host_and_reddens_the_bar_of_stderr() -> None:
    widths = Widths.of(["node1"], 4)
    assert prefix(RANK_OUT, widths, b"36").decode() == "\x1b[36mr3 node1\x1b[0m │ "
    assert prefix(RANK_ERR, widths, b"36").decode() == ("\x1b[36mr3 node1\x1b[0m \x1b[31m│\x1b[0m ")


def test_without_colour_stdout_and_stderr_look_alike() -> None:
    widths = Widths.of(["node1"], 4)
    assert prefix(RANK_OUT, widths) == prefix(RANK_ERR, widths)


def test_a_timestamp_is_utc_to_the_millisecond() -> None:
    assert timestamp(0.125) == b"1970-01-01T00:00:00.125Z"
