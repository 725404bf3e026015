"""The header before the ranks run: who is done, who failed, who is waited for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ui.phases import Phases


def header(phases: Phases, width: int = 80) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in phases.rows(width, 24)]


NODES = [f"node{number}" for number in range(8)]


def test_who_is_waited_for_is_named_as_far_as_there_is_room() -> None:
    phases = Phases()
    phases.begin("connect", NODES)
    assert header(phases) == ["connect 8 nodes"]
    phases.advance("connect", "node1", True)
    phases.advance("connect", "node3", False)
    assert header(phases) == [
        "connect 2/8, not node3, waiting for node0, node2, node4, node5 and 2 more"
    ]


def test_phases_that_are_done_show_their_times() -> None:
    phases = Phases()
    phases.say("run lusab-babad")
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


def test_header_that_was_printed_already_is_not_part_of_the_summary() -> None:
    phases = Phases()
    phases.say("run lusab-babad")
    phases.say("files ~/exp: 1 file, 1 B")
    assert phases.take_header() == "run lusab-babad\n      files ~/exp: 1 file, 1 B"
    phases.end("sync", 1.0, "")
    assert phases.summary() == "sync 1.00 s"


def test_a_narrow_terminal_gets_the_times_in_lines_that_fit_and_a_pipe_gets_one() -> None:
    phases = Phases()
    phases.say("run lusab-babad")
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
def test_no_phase_that_is_done_is_cut_off(ended: list[tuple[str, str]], width: int) -> None:
    phases = Phases()
    for phase, detail in ended:
        phases.end(phase, 1.25, detail)
    lines = ["".join(text for text, _ in row) for row in phases.rows(width, 1000)]
    assert all(0 < len(line) <= width for line in lines)
    assert " ".join(lines).split() == [
        word for phase, detail in ended for word in ["✓", phase, "1.25", "s", *detail.split()]
    ]


def test_where_there_is_little_room_the_end_is_shown() -> None:
    phases = Phases()
    for phase in ("connect", "facts", "sync"):
        phases.end(phase, 1.0, "as long as a row is")
    phases.begin("start", NODES)
    rows = ["".join(text for text, _ in row).rstrip() for row in phases.rows(30, 3)]
    assert rows == ["✓ sync 1.00 s  as long as a row is", "start 8 nodes"]
