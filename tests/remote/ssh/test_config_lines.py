"""Lines of ssh_config come apart as OpenSSH takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.ssh.config_lines import BadLine, Directive, criteria, directives, words


@pytest.mark.parametrize(
    "line", ["User bob", "user=bob", "USER = bob", "  User\tbob \f", '"User" bob', "User =bob\r"]
)
def test_keyword_and_value_are_separated(line: str) -> None:
    assert list(directives(f"# a\n\n{line}\n")) == [Directive(3, "user", "bob")]


@pytest.mark.parametrize("line", ["=x", '"User', "User\0 bob"])
def test_line_without_a_keyword_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(BadLine) as caught:
        list(directives(f"User bob\n{line}\n"))
    assert caught.value.args == (2,)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a b", ["a", "b"]),
        ("'a b' \"c d\"e", ["a b", "c de"]),
        ("a # b", ["a"]),
        ("a#b", ["a#b"]),
        ("DOMAIN\\bob", ["DOMAIN\\bob"]),
        ("a\\ b", ["a b"]),
        ('"a\\ b"', ["a\\ b"]),
        ("\\'a\\\" \\\\", ["'a\"", "\\"]),
        ('""', [""]),
        ("", []),
    ],
)
def test_words_are_those_that_ssh_sees(value: str, found: list[str]) -> None:
    assert words(value) == found


@pytest.mark.parametrize("value", ['"a', "a'", "'\\'"])
def test_quote_that_is_not_closed_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="not closed"):
        words(value)


@given(st.lists(st.text(st.characters(exclude_characters="\n\0"), max_size=8), max_size=4))
def test_any_words_in_quotes_arrive_unchanged(given_words: list[str]) -> None:
    escaped = [word.replace("\\", "\\\\").replace('"', '\\"') for word in given_words]
    assert words(" ".join(f'"{word}"' for word in escaped)) == given_words


def test_criteria_may_have_their_pattern_behind_an_equals_sign() -> None:
    assert criteria(["host=a*", "!user", "x=y", "all"]) == ["host", "a*", "!user", "x=y", "all"]
    with pytest.raises(ValueError, match="no name"):
        criteria([""])
