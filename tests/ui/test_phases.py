"""The phases before the ranks run: finished ones, and the nodes that are pending or failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ui.phases import Phases


def header(phases: Phases, width: int = 80) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in phases.rows(width, 24)]


NODES = [f"node{number}" for number in range(8)]


def test_pending_nodes_are_named_up_to_a_limit() -> None:
    phases = Phases()
    phases.begin("connect", NODES)
    assert header(phases) == ["connect 8 nodes"]
    phases.advance("node1", True)
    phases.advance("node3", False)
    assert header(phases) == [
        "connect 2/8, failed on node3, waiting for node0, node2, node4, node5 and 2 more"
    ]


def test_finished_phases_show_their_times() -> None:
    phases = Phases()
    phases.add_header("run lusab-babad")
    phases.begin("connect", NODES)
    phases.end("connect", 0.314, "")
    phases.begin("sync", NODES)
    phases.sync("node0", 1_500_000, 3_000_000)
    phases.sync("node1", 0, 3_000_000)
    assert header(phases) == [
        "run lusab-babad",
        "✓ connect 0.31 s",
        "sync 1.5 MB of 6.0 MB to 2 nodes",
    ]
    phases.end("sync", 1.0, "3 files")
    assert phases.summary() == "run lusab-babad\n      connect 0.31 s · sync 1.00 s (3 files)"


def test_header_that_was_taken_is_not_in_the_summary() -> None:
    phases = Phases()
    phases.add_header("run lusab-babad")
    phases.add_header("files ~/exp: 1 file, 1 B")
    assert phases.take_header() == "run lusab-babad\n      files ~/exp: 1 file, 1 B"
    phases.end("sync", 1.0, "")
    assert phases.summary() == "sync 1.00 s"


def test_summary_wraps_between_phases_in_a_terminal() -> None:
    phases = Phases()
    phases.add_header("run lusab-babad")
    for phase in ("connect", "facts", "sync", "preflight", "start"):
        phases.end(phase, 0.25, "13 files" if phase == "sync" else "")
    first = "connect 0.25 s · facts 0.25 s · sync 0.25 s (13 files) · preflight 0.25 s"
    said = "run lusab-babad\n      "
    assert phases.summary() == f"{said}{first} · start 0.25 s"
    assert phases.summary(120) == phases.summary()
    assert phases.summary(80) == f"{said}{first}\n      start 0.25 s"


@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=12), st.text("xyz", max_size=20))),
    st.integers(60, 200),
)
def test_finished_phases_are_never_cut(ended: list[tuple[str, str]], width: int) -> None:
    phases = Phases()
    for phase, detail in ended:
        phases.end(phase, 1.25, detail)
    lines = ["".join(text for text, _ in row) for row in phases.rows(width, 1000)]
    assert all(0 < len(line) <= width for line in lines)
    assert " ".join(lines).split() == [
        word for phase, detail in ended for word in ["✓", phase, "1.25", "s", *detail.split()]
    ]


def test_low_terminal_shows_the_last_rows() -> None:
    phases = Phases()
    for phase in ("connect", "facts", "sync"):
        phases.end(phase, 1.0, "as long as a row is")
    phases.begin("start", NODES)
    rows = ["".join(text for text, _ in row).rstrip() for row in phases.rows(30, 3)]
    assert rows == ["✓ sync 1.00 s  as long as a row is", "start 8 nodes"]
