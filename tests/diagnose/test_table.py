"""The table of signatures."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnose import SIGNATURES, Kind, Signature
from orchestrator.diagnose.table import literals, rules
from orchestrator.preflight.registry import CHECKS

PATTERNS = [(signature, pattern) for signature in SIGNATURES for pattern in signature.patterns]


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_ids_are_unique() -> None:
    assert len({signature.id for signature in SIGNATURES}) == len(SIGNATURES)


def test_checks_of_signatures_exist() -> None:
    assert {s.check for s in SIGNATURES if s.check} <= {check.id for check in CHECKS}


def test_cascades_name_what_they_follow_from() -> None:
    assert [s.id for s in SIGNATURES if s.kind is Kind.CASCADE and s.after is None] == []


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.id)
def test_texts_are_short_and_use_groups_of_every_pattern(signature: Signature) -> None:
    for text in (signature.meaning, signature.cause, signature.fix):
        assert 0 < len(text) <= 220 and not text.endswith(".")
        for pattern in signature.patterns:
            assert fields(text) <= set(re.compile(pattern).groupindex)


@pytest.mark.parametrize(("signature", "pattern"), PATTERNS)
def test_every_pattern_has_one_text_to_search_for(signature: Signature, pattern: str) -> None:
    held = [
        text
        for text, group in rules().items()
        if any(rule.pattern.pattern == pattern and rule.signature is signature for rule in group)
    ]
    assert len(held) == 1 and len(held[0]) >= 3


@given(st.data())
def test_pattern_matches_only_texts_with_its_literals(data: st.DataObject) -> None:
    _, pattern = data.draw(st.sampled_from(PATTERNS))
    found = re.search(pattern, text := data.draw(st.from_regex(pattern)))
    assert found is not None
    at = found.start()
    for piece in literals(pattern):
        at = text.find(piece, at)
        assert at >= 0, piece


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("ab", ["ab"]),
        (r"a\.b\[", ["a.b["]),
        ("ab?c", ["a", "c"]),
        ("ab+c", ["ab", "c"]),
        ("ab*", ["a"]),
        ("ab{2}c", ["a", "c"]),
        ("a(?>.*?b)c", ["a", "c"]),
        (r"a\d+b", ["a", "b"]),
        ("a[bc]d", ["a", "d"]),
        ("a(?:b|c)d", ["a", "d"]),
        ("a(b(c)d)?e", ["a", "e"]),
        ("^a.*b$", ["a", "b"]),
    ],
)
def test_literals_are_in_every_match(pattern: str, expected: list[str]) -> None:
    assert literals(pattern) == expected


def test_literals_refuses_alternatives_outside_of_groups() -> None:
    with pytest.raises(ValueError, match="alternatives outside of a group"):
        literals("a|b")
