"""How a fetch and a push are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.ui.fetching import TransferProgress, TransferScreen, fetched, listing

FETCHED = events.Fetched("node0", Path("/data/lusab"), 3, 1_200_000_000, 0, (), 10.0)


def test_progress_has_amount_rate_and_share() -> None:
    now = 0.0
    progress = TransferProgress("fetch", "from", lambda: now)
    assert progress.rows(80, 24) == []
    now = 2.0
    progress.update("node0", 500_000_000, 1_000_000_000)
    (row,) = progress.rows(80, 24)
    text = "".join(text for text, _ in row)
    assert text == "fetch 500.0 MB of 1.0 GB from node0 · 250.0 MB/s · 50 %"
    progress.update("node1", 0, 0)
    assert "from 2 nodes" in "".join(text for text, _ in progress.rows(80, 24)[0])


def test_fetched_has_files_size_and_rate() -> None:
    assert fetched(FETCHED) == "node0: fetched 3 files (1.2 GB, 120.0 MB/s) into /data/lusab"
    none = events.Fetched("node0", Path("/data/lusab"), 0, 0, 2, (), 0.0)
    assert fetched(none) == "node0: nothing new, 2 files already here"
    assert (
        fetched(FETCHED, is_rehearsal=True)
        == "node0: 3 files (1.2 GB) would be fetched into /data/lusab"
    )


def test_fetched_lists_what_was_left_out_and_the_option() -> None:
    left = ("a: newer here", *(f"{n}: there is a folder here" for n in range(5)))
    event = events.Fetched("node0", Path("/d"), 1, 10, 0, left, 1.0, newer=1)
    assert fetched(event).splitlines() == [
        "node0: fetched 1 file (10 B) into /d; 6 files left out:",
        "        a: newer here",
        "        0: there is a folder here",
        "        1: there is a folder here",
        "        and 3 more",
        "        --overwrite replaces files that are newer here",
    ]


def test_listing_has_no_control_characters() -> None:
    assert (
        listing([("a\x1b[2J.pt", 5), ("\udcff", 0)])
        == "      5 B  a\ufffd[2J.pt\n      0 B  \ufffd\n"
    )


def test_screen_in_a_pipe_shows_only_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    screen = TransferScreen()
    screen(events.FetchAdvanced("node0", 5, 10))
    screen.show(FETCHED)
    screen.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "orch: node0: fetched 3 files (1.2 GB, 120.0 MB/s) into /data/lusab\n"
