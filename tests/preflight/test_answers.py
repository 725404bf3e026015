"""Answers of nodes, parsed or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest

from orchestrator.errors import NodeError
from orchestrator.preflight.answers import ask, finite, parsed, reader, text
from orchestrator.preflight.model import NoAnswer
from orchestrator.remote.agent import Agent
from orchestrator.util.answers import optional


class Node:
    """An agent that answers one thing, or fails."""

    node = SimpleNamespace(name="node1")

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def ask(self, verb: str, *, timeout: float, **arguments: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def asked(answer: Any) -> int | NoAnswer:
    return await ask(cast(Agent, Node(answer)), "verb", lambda raw: int(raw["count"]), size=1)


async def test_ask_returns_the_parsed_answer() -> None:
    assert await asked({"count": "12"}) == 12


@pytest.mark.parametrize(
    "answer", [None, 5, [], {}, {"count": "x"}, {"count": None}, {"count": 10**400}]
)
async def test_ask_with_an_invalid_answer_returns_no_answer(answer: Any) -> None:
    found = await asked(answer)
    assert isinstance(found, NoAnswer)
    assert found.reason.startswith("invalid response from the node: ")


async def test_ask_of_a_failing_node_returns_the_error_without_its_name() -> None:
    assert await asked(NodeError("node1", "the connection broke")) == NoAnswer(
        "the connection broke"
    )


def test_parsed_does_not_catch_bugs_of_the_parser() -> None:
    def broken(raw: object) -> int:
        raise AssertionError

    with pytest.raises(AssertionError):
        parsed(broken, {})


def test_optional_keeps_null_and_text_is_one_bounded_line() -> None:
    assert optional(int, None) is None
    assert optional(int, "3") == 3
    assert text(" two\n words\x1b[2J ") == "two words [2J"
    assert len(text("x" * 1000)) == 300


@pytest.mark.parametrize("raw", ["nan", "inf", "-inf"])
def test_finite_refuses_nan_and_infinity(raw: str) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        finite(raw)


@dataclass(frozen=True)
class Wheel:
    size: float
    worn: bool = False


@dataclass(frozen=True)
class Cart:
    name: str
    load: int | None
    wheels: tuple[Wheel, ...]
    place: tuple[int, str]
    labels: frozenset[str]
    notes: Mapping[str, int | None]
    colour: Annotated[str, str.upper]


CART = {
    "name": "a\nb", "load": None, "wheels": [{"size": 1}, {"size": "2.5", "worn": 1}], "place": [3, "x"],
    "labels": ["p", "q", "p"], "notes": {"k": "7", "l": None}, "colour": "red", "unknown": [],
}  # fmt: skip


def test_reader_of_a_dataclass_reads_its_fields_by_their_types() -> None:
    assert reader(Cart)(CART) == Cart(
        name="a b",
        load=None,
        wheels=(Wheel(1.0), Wheel(2.5, True)),
        place=(3, "x"),
        labels=frozenset({"p", "q"}),
        notes={"k": 7, "l": None},
        colour="RED",
    )
    assert reader(tuple[Wheel, ...])([{"size": 1}]) == (Wheel(1.0),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"load": "x"}, {"wheels": [{}]}, {"wheels": [{"size": "nan"}]}, {"wheels": 1}, {"place": [3]},
        {"place": [3, "x", 4]}, {"notes": []}, {"colour": 1},
    ],
)  # fmt: skip
def test_reader_of_another_type_is_no_answer(wrong: dict[str, Any]) -> None:
    assert isinstance(parsed(reader(Cart), {**CART, **wrong}), NoAnswer)
    assert isinstance(parsed(reader(Cart), wrong), NoAnswer)
