"""Lines of host lists: their words, without comments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory.hostfiles.lines import decode, read_lines


def words(text: str) -> list[tuple[int, list[str]]]:
    return [(line.number, [str(word) for word in line.words]) for line in read_lines(text)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a b\n\n  c\t d ", [(1, ["a", "b"]), (3, ["c", "d"])]),
        ("a slots = 4 b", [(1, ["a", "slots=4", "b"])]),
        ("a slots=\nb", [(1, ["a", "slots="]), (2, ["b"])]),
        ("= 4 a == b", [(1, ["=4", "a=", "=b"])]),
        ("# a\nb # c\nd// e\n// f", [(2, ["b"]), (3, ["d"])]),
        ("a /* b\nc */ d\n/*/ e */f", [(1, ["a"]), (2, ["d"]), (3, ["f"])]),
        ("a\n/* b\nc", [(1, ["a"])]),
        ("a\r\nb\rc", [(1, ["a"]), (2, ["b"]), (3, ["c"])]),
        ("a\vb\x85c\u2028d", [(1, ["a", "b", "c", "d"])]),  # breaks of lines to Python alone
        ("a\u00a0slots=4", [(1, ["a", "slots=4"])]),
        ("", []),
    ],
)
def test_read_lines(text: str, lines: list[tuple[int, list[str]]]) -> None:
    assert words(text) == lines


def test_words_have_the_column_at_which_they_stand() -> None:
    (line,) = read_lines("/* x */ a  slots = 4")
    assert [(word.key, word.column) for word in line.words] == [("a", 9), ("slots", 12)]


def test_decode_drops_the_mark_and_keeps_what_is_not_text_apart_from_names() -> None:
    assert decode(b"\xef\xbb\xbfa \xe9") == "a \udce9"


@given(st.text(alphabet="ab= \t\r\n#/*\x0b\u00a0"))
def test_read_lines_of_any_text_finds_its_words(text: str) -> None:
    for line in read_lines(text):
        own = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[line.number - 1]
        for word in line.words:
            assert own[word.column - 1 :].startswith(word.key)
            assert not set(word.key) & set("= \t\r\n\x0b\u00a0")


@pytest.mark.parametrize("text", ["a" * 400_000 + " " * 400_000 + "=" * 400_000, "/*" * 500_000])
def test_read_lines_of_hostile_text_is_bounded(text: str) -> None:
    assert sum(len(line.words) for line in read_lines(text)) <= 64
