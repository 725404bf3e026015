"""What orch says itself: no secret in it, and nothing that a terminal obeys."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ui.stderr import folded, message


def test_secret_in_a_message_is_masked() -> None:
    said = message("node1: no way to pg://me:hunter2@db\n  → give --env HF_TOKEN=VALUE")
    assert said.decode() == "orch: node1: no way to pg://me:***@db\n  → give --env HF_TOKEN=VALUE\n"


@given(st.text(st.characters(codec=None), max_size=40))
def test_message_moves_no_terminal(text: str) -> None:
    said = re.sub(r"\x1b\[[0-9;:]*m", "", message(f"node1 says {text}").decode())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said)


def test_long_line_is_folded_between_words_and_hangs() -> None:
    text = "orch: " + "word " * 20
    rows = folded(text.rstrip(), 50).split("\n")
    assert rows[0] == "orch:" + " word" * 9
    assert all(row.startswith("    word") for row in rows[1:])
    assert max(map(len, rows)) <= 50


def test_command_in_backticks_and_indented_lines_are_not_folded() -> None:
    command = f"`orch launch {'x' * 60} y`"
    assert command in folded(f"  → then run {command} once", 50)
    pasted = "      sudo nft insert rule inet filter input ip saddr 10.0.0.0/8 accept"
    assert folded(pasted, 50) == pasted


def test_without_a_terminal_nothing_is_folded() -> None:
    assert folded("word " * 100, None) == "word " * 100


@given(st.text(alphabet="ab `\n→'", max_size=300), st.integers(min_value=40, max_value=120))
def test_no_word_is_lost(text: str, width: int) -> None:
    assert folded(text, width).split() == text.split()
