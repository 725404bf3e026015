"""Lines of ssh_config are split as OpenSSH splits them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.util.ssh_config_lines import BadLine, Directive, conditions, directives, words


@pytest.mark.parametrize(
    "line", ["User bob", "user=bob", "USER = bob", "  User\tbob \f", '"User" bob', "User =bob\r"]
)
def test_directives_separate_keyword_and_value(line: str) -> None:
    assert list(directives(f"# a\n\n{line}\n")) == [Directive(3, "user", "bob")]


@pytest.mark.parametrize("line", ["=x", '"User', "User\0 bob"])
def test_directives_with_an_invalid_line_raise_with_its_number(line: str) -> None:
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
def test_words_are_the_same_as_for_ssh(value: str, found: list[str]) -> None:
    assert words(value) == found


@pytest.mark.parametrize("value", ['"a', "a'", "'\\'"])
def test_words_with_an_unclosed_quote_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="not closed"):
        words(value)


@given(st.lists(st.text(st.characters(exclude_characters="\n\0"), max_size=8), max_size=4))
def test_words_in_quotes_are_unchanged(given_words: list[str]) -> None:
    escaped = [word.replace("\\", "\\\\").replace('"', '\\"') for word in given_words]
    assert words(" ".join(f'"{word}"' for word in escaped)) == given_words


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("host=a* !user b", ["host", "a*", "!user", "b"]),
        ('exec "test x = y" all', ["exec", "test x = y", "all"]),
        ("all # COMMENT", ["all"]),
        ("host\ta  =  b", ["host", "a", "b"]),
    ],
)
def test_conditions_are_split_at_blanks_and_equals_signs(value: str, found: list[str]) -> None:
    assert list(conditions(value)) == found


@pytest.mark.parametrize("value", ['""', "=x", 'exec "test'])
def test_conditions_with_an_empty_word_or_an_open_quote_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"no name|not closed"):
        list(conditions(value))
