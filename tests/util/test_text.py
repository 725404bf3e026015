"""Text for messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.util.text import counted, first_few, first_line, printable


@given(text=st.text() | st.binary(), limit=st.integers(min_value=1, max_value=300))
def test_printable_returns_one_short_line_for_any_input(text: str | bytes, limit: int) -> None:
    line = printable(text, limit)
    assert len(line) <= limit
    assert line.isprintable()


def test_printable_removes_escape_sequences_and_direction_marks() -> None:
    assert printable("\x1b[31mred\x07 \u202eevil\r\nnext") == "[31mred evil next"


def test_counts_have_a_plural_and_long_lists_are_cut() -> None:
    assert (counted(1, "node"), counted(0, "node"), counted(3, "node")) == (
        "1 node", "0 nodes", "3 nodes",
    )  # fmt: skip
    assert first_few(["a", "b"], 2) == "a, b"
    assert first_few(list("abcde"), 2) == "a, b and 3 more"
    assert first_line("one\ntwo") == "one"
