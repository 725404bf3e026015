"""TOML is read with the place of every key, or refused with the place of the fault."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.util.toml import Key, NotToml, parse, places, read_text

ROOT = Path(__file__).parent.parent.parent
KINDS = '''
title = "a # b" # "c"
"quoted.key" = 1
dotted.a . b = [1, [2, 3,
  4], {x = 1, y.z = 2}]
long = """one
k = 2 \\""" ""two"""
literal = \'\'\'
[no]
it's\'\'\'
date = 1979-05-27 07:32:00
[a.b]
c = {d = {e = []}}
[[list]]
name = "x"
[list.below]
k = 1
[[list]]
[[list.deep]]
z = 1.5
[list.deep.table]
'''


def keys(value: Any, path: Key = ()) -> Iterator[Key]:
    """Yield the path of every key and element."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from keys(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from keys(inner, (*path, number))


@pytest.mark.parametrize(
    "text",
    [KINDS, KINDS.replace("\n", "\r\n"), (ROOT / "pyproject.toml").read_text(encoding="utf-8")],
    ids=["kinds", "kinds with CRLF", "a real one"],
)
def test_places_has_every_key_where_it_stands(text: str) -> None:
    found = places(text)
    assert set(found) == set(keys(tomllib.loads(text)))
    lines = text.split("\n")
    for path, (line, column) in found.items():
        rest = lines[line - 1][column - 1 :]
        if isinstance(path[-1], str):
            assert rest.lstrip("\"'").startswith(path[-1]), path


def test_places_are_those_of_the_first_mention() -> None:
    found = places("a = 1\n  [b.c]\nd.e = 1\nd.f = [\n 7]\n")
    assert found[("a",)] == (1, 1)
    assert (found["b",], found["b", "c"]) == ((2, 4), (2, 6))
    assert (found["b", "c", "d"], found["b", "c", "d", "f"]) == ((3, 1), (4, 3))
    assert found["b", "c", "d", "f", 0] == (5, 2)


words = st.text(
    alphabet=st.sampled_from("""ab01_-."'[]{}=,# \n\\"""), min_size=1, max_size=40
) | st.sampled_from(KINDS.splitlines(keepends=True))


@given(st.lists(words, max_size=8).map("".join))
def test_places_agrees_with_tomllib_about_any_text_that_is_toml(text: str) -> None:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(places(text)) == set(keys(content))


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = \n", (1, 5)), ("a = 1\nb == 2\n", (2, 4)), ("a = " + "[" * 5000, None)],
)
def test_parse_of_other_text_says_where_it_is_wrong(
    text: str, place: tuple[int, int] | None
) -> None:
    with pytest.raises(NotToml, match="it is not TOML") as caught:
        parse(text)
    assert caught.value.place == place
    if place is not None:
        assert str(caught.value).endswith(f" (at line {place[0]}, column {place[1]})")
        assert "line" not in caught.value.text


def test_read_text_of_bytes_that_are_no_text_says_where(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes("a = 1\nä \xff".encode("latin-1"))
    with pytest.raises(NotToml) as caught:
        read_text(tmp_path / "f", 100)
    assert str(caught.value) == "it is not UTF-8 (at line 2, column 1)"
    with pytest.raises(ValueError, match="it cannot be read: it is a folder"):
        read_text(tmp_path, 100)
