"""How a fetch and a push are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.ui.fetching import TransferProgress, TransferScreen, fetched, listing, rehearsed

FETCHED = events.Fetched("node0", Path("/data/lusab"), 3, 1_200_000_000, 0, (), 10.0)


def test_progress_says_how_much_and_how_fast() -> None:
    now = 0.0
    progress = TransferProgress("fetch", "from", lambda: now)
    assert progress.rows(80, 24) == []
    now = 2.0
    progress.hear("node0", 500_000_000, 1_000_000_000)
    (row,) = progress.rows(80, 24)
    said = "".join(text for text, _ in row)
    assert said == "fetch 500.0 MB of 1.0 GB from node0 · 250.0 MB/s · 50 %"
    progress.hear("node1", 0, 0)
    assert "from 2 nodes" in "".join(text for text, _ in progress.rows(80, 24)[0])


def test_the_end_says_what_came() -> None:
    assert fetched(FETCHED) == "node0: fetched 3 files (1.2 GB, 120.0 MB/s) into /data/lusab"
    none = events.Fetched("node0", Path("/data/lusab"), 0, 0, 2, (), 0.0)
    assert fetched(none) == "node0: nothing new, 2 files here already"
    assert rehearsed(FETCHED) == "node0: 3 files (1.2 GB) would come into /data/lusab"


def test_what_is_left_out_is_told_with_the_option_that_takes_it() -> None:
    left = ("a: newer here", *(f"{n}: a folder stands here" for n in range(5)))
    event = events.Fetched("node0", Path("/d"), 1, 10, 0, left, 1.0, newer=1)
    assert fetched(event).splitlines() == [
        "node0: fetched 1 file (10 B) into /d; 6 files left out:",
        "        a: newer here",
        "        0: a folder stands here",
        "        1: a folder stands here",
        "        and 3 more",
        "        --overwrite replaces what is newer here",
    ]


def test_a_listing_cannot_drive_the_terminal() -> None:
    assert (
        listing([("a\x1b[2J.pt", 5), ("\udcff", 0)])
        == "      5 B  a\ufffd[2J.pt\n      0 B  \ufffd\n"
    )


def test_a_pipe_gets_the_end_alone(capfd: pytest.CaptureFixture[str]) -> None:
    screen = TransferScreen()
    screen(events.FetchAdvanced("node0", 5, 10))
    screen.tell(FETCHED)
    screen.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "orch: node0: fetched 3 files (1.2 GB, 120.0 MB/s) into /data/lusab\n"
