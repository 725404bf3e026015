"""Messages on stderr: without secrets and control characters, wrapped."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ui.stderr import message, wrapped


def test_secret_in_a_message_is_masked() -> None:
    shown = message("node1: no way to pg://me:hunter2@db\n  → give --env HF_TOKEN=VALUE")
    assert (
        shown.decode() == "orch: node1: no way to pg://me:***@db\n  → give --env HF_TOKEN=VALUE\n"
    )


@given(st.text(st.characters(codec=None), max_size=40))
def test_message_has_no_control_characters(text: str) -> None:
    shown = re.sub(r"\x1b\[[0-9;:]*m", "", message(f"node1 says {text}").decode())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


def test_long_line_wraps_between_words_with_an_indent() -> None:
    text = "orch: " + "word " * 20
    rows = wrapped(text.rstrip(), 50).split("\n")
    assert rows[0] == "orch:" + " word" * 9
    assert all(row.startswith("    word") for row in rows[1:])
    assert max(map(len, rows)) <= 50


def test_commands_and_indented_lines_are_not_wrapped() -> None:
    command = f"`orch launch {'x' * 60} y`"
    assert command in wrapped(f"  → then run {command} once", 50)
    pasted = "      sudo nft insert rule inet filter input ip saddr 10.0.0.0/8 accept"
    assert wrapped(pasted, 50) == pasted


def test_nothing_is_wrapped_without_a_terminal() -> None:
    assert wrapped("word " * 100, None) == "word " * 100


@given(st.text(alphabet="ab `\n→'", max_size=300), st.integers(min_value=40, max_value=120))
def test_wrapping_keeps_all_words(text: str, width: int) -> None:
    assert wrapped(text, width).split() == text.split()
