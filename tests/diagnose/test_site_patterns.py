"""The patterns that a signature of the site may have."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.diagnose.label import MAX_TEXT
from orchestrator.diagnose.site_patterns import MAX_DEPTH, MAX_PATTERN, checked
from orchestrator.diagnose.table import literals
from tests.regexes import hostile

ACCEPTED = [
    "switch .* is down",
    r"link (?P<port>\S+) is down after (?P<seconds>\d+) s",
    r"fabric manager.*code (?P<code>\d+)",
    "(?>.*?fabric ).*port down",
    "[Ff]abric (?:error|warning|notice)",
    r"^(?!.*retrying)lease of node \w+ is lost$",
    r"foo\s+socket\S{1,99} .*bar",
    "(?:port )?link down",
    r"größe \d+ überschritten",
]


@pytest.mark.parametrize("pattern", ACCEPTED)
def test_checked_accepts_common_patterns(pattern: str) -> None:
    assert checked(pattern).pattern == pattern


@pytest.mark.parametrize("pattern", ACCEPTED)
def test_checked_pattern_is_fast_on_hostile_text(pattern: str) -> None:
    compiled = checked(pattern)
    for text in hostile(compiled, MAX_TEXT):
        started = time.process_time()
        compiled.search(text)
        assert time.process_time() - started < 5.0, text[:80]


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+ xyz",
        "(?:a|a)*xyz",
        "(?:a|ab|b)*xyz",
        "(?:a*b?)*xyz",
        "(?:a{1,99}){1,99}xyz",
        "a?" * 40 + "xyz",
        "abc.*def.*ghi",
        r"abc\S+\.so\S*:",
        r"\d+\d+xyz",
        r"abc.*\d+xyz",
        "[α-ω]+[α-ω]+xyz",
        r"abc\S+(?:é|ö)+.*xyz",
        "abc.*(?!.*b.*c)",
    ],
)
def test_checked_refuses_patterns_that_may_take_long(pattern: str) -> None:
    with pytest.raises(ValueError, match="it may take very long"):
        checked(pattern)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(link", "it is not a regular expression: missing \\), unterminated subpattern"),
        ("link{99999999999}", "it is not a regular expression"),
        ("(" * 400 + "a" + ")" * 400, "it is not a regular expression|nested more than"),
        ("(" * 9 + "a" + ")" * 9 + "link", f"nested more than {MAX_DEPTH} deep"),
        ("x" * (MAX_PATTERN + 1), "1,001 characters, the limit is 1,000"),
        ("(?i)link", r"it has a flag, such as \(\?i\)"),
        ("(?i:link) down", r"it has a flag, such as \(\?i\)"),
        ("link(?#up) down", "or a comment"),
        (r"link \x41", "a character by its number"),
        (r"(link) \1", "a character by its number"),
        ("(?P<a>link) (?P=a) down", "it refers to a group of its own"),
        ("(a)?link(?(1)b|c)", "it refers to a group of its own"),
        ("link|port", "alternatives outside of a group"),
        ("(?:link|port)", "it has no plain text of 3 characters"),
        ("", "it has no plain text of 3 characters"),
        ("link [[a]", "its meaning may change: Possible nested set"),
    ],
)
def test_checked_refuses_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checked(pattern)


@given(st.text(alphabet=r"ab()[]{}*+?|.^$\d-?:!=<>,1é", max_size=12))
def test_checked_accepts_or_refuses_any_text(text: str) -> None:
    try:
        compiled = checked(f"{text}link")
    except ValueError as error:
        assert str(error)
    else:
        assert compiled.pattern == f"{text}link"


@given(st.text(alphabet="ab()[]{}*+?.^-:1", max_size=8), st.data())
def test_checked_pattern_matches_only_texts_with_its_literals(
    text: str, data: st.DataObject
) -> None:
    try:
        compiled = checked(f"{text}link")
    except ValueError:
        assume(False)
        return
    found = data.draw(st.from_regex(compiled))
    for piece in literals(compiled.pattern):
        assert piece in found


@pytest.mark.parametrize(
    "text",
    [
        "(?:ab)?" * 142,
        "(?:a" * MAX_DEPTH + ")?" * MAX_DEPTH,
        "(?:a(?:b(?:c(?:d(?:e(?:f(?:g)?h)?i)?j)?k)?l)?m)?" * 20,
    ],
)
def test_checked_is_fast_for_long_and_nested_patterns(text: str) -> None:
    started = time.process_time()
    with suppress(ValueError):
        checked(f"{text}link")
    assert time.process_time() - started < 10.0
