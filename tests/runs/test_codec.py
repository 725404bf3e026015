"""Dataclasses as JSON, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory import Host
from orchestrator.runs.codec import decode, encode


@dataclass(frozen=True)
class Inner:
    count: int
    root: Path = Path("/")


@dataclass(frozen=True)
class Outer:
    text: str
    seconds: float
    is_so: bool
    numbers: tuple[int, ...] = ()
    by_name: Mapping[str, float] = field(default_factory=dict)
    inner: Inner | None = None


OUTERS = st.builds(
    Outer,
    text=st.text(),
    seconds=st.floats(allow_nan=False),
    is_so=st.booleans(),
    numbers=st.lists(st.integers()).map(tuple),
    by_name=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    inner=st.none() | st.builds(Inner, st.integers(), st.just(Path("/a b/é"))),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(OUTERS)
def test_decode_of_encode_is_the_same_value(outer: Outer) -> None:
    assert decode(Outer, json.loads(json.dumps(encode(outer)))) == outer


def test_text_with_surrogates_survives() -> None:
    outer = Outer(b"\xff".decode(errors="surrogateescape"), 1.0, True)
    assert decode(Outer, json.loads(json.dumps(encode(outer)))) == outer


def test_missing_field_gets_its_default() -> None:
    assert decode(Inner, {"count": 3}) == Inner(3)
    with pytest.raises(ValueError, match="count"):
        decode(Inner, {})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, True),
        (int, "1"),
        (int, 1.0),
        (int, float("inf")),
        (float, True),
        (float, 10**400),
        (str, None),
        (bool, 0),
        (Path, 3),
        (tuple[str, ...], "text"),
        (tuple[int, ...], ["1"]),
        (Mapping[str, float], [["a", 1.0]]),
        (int | None, "x"),
        (Inner | None, {}),
        (Inner, [1]),
        (Inner, {"count": 1, "more": 2}),
    ],
)
def test_value_of_another_type_is_refused(kind: Any, value: object) -> None:
    with pytest.raises(ValueError, match=r"expected|not a valid|missing|unknown"):
        decode(kind, value)


@given(JSON)
def test_any_json_is_decoded_or_refused(value: object) -> None:
    with suppress(ValueError):
        assert isinstance(decode(Outer, value), Outer)


@dataclass(frozen=True)
class Kinds:
    names: frozenset[str] = frozenset()
    devices: int | Literal["auto"] | None = None
    host: Host | None = None

    def __post_init__(self) -> None:
        if "" in self.names:
            raise ValueError("a name is empty")


@pytest.mark.parametrize(
    "kinds",
    [
        Kinds(frozenset({"b", "a"}), "auto"),
        Kinds(devices=3, host=Host(name="a", env={"A": "1"})),
        Kinds(),
    ],
)
def test_sets_literals_and_hosts_survive(kinds: Kinds) -> None:
    assert decode(Kinds, json.loads(json.dumps(encode(kinds)))) == kinds


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Outer, {"text": "", "seconds": 1, "is_so": True, "numbers": [1, "x"]},
         "numbers[1]: expected int, got str"),
        (Outer, {"text": "", "seconds": 1, "is_so": True, "by_name": {"a": None}},
         "by_name['a']: expected float, got NoneType"),
        (Outer, {"text": "", "seconds": 1, "is_so": True, "inner": {"count": 1, "more": 2}},
         "inner: unknown field 'more' of Inner"),
        (Outer, {"text": "", "is_so": True}, "value: field 'seconds' of Outer is missing"),
        (Kinds, {"devices": "all"}, "devices: expected one of 'auto'"),
        (Kinds, {"names": [""]}, "value: not a valid Kinds: a name is empty"),
        (Kinds, {"host": {"name": "a", "port": "p"}}, "host.port: "),
    ],
)  # fmt: skip
def test_error_has_the_position_and_not_the_value(kind: Any, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        decode(kind, value)
