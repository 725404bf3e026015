"""Ask a node, and parse its answer, which may be anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar, cast

from orchestrator.errors import NodeError
from orchestrator.preflight.model import NoAnswer
from orchestrator.remote.agent import Agent
from orchestrator.util import answers
from orchestrator.util.answers import PARSE_ERRORS
from orchestrator.util.text import printable

T = TypeVar("T")

_MAX_VALUES = 50_000
_MAX_TEXT = 1 << 16
_LONG_NUMBER = re.compile(r"\s*[+-]?[\d_]{30,}\s*")  # int() reads these too
_MAX_NUMBER = 1 << 65  # counters have 64 bits
_MAX_LINE = 300


async def ask(
    agent: Agent, verb: str, parse: Callable[[Any], T], *, timeout: float = 30.0, **arguments: Any
) -> T | NoAnswer:
    """Return the answer of a node, parsed; it has `timeout` seconds."""
    try:
        return parsed(parse, await agent.ask(verb, timeout=timeout, **arguments))
    except NodeError as error:
        return NoAnswer(error.text)


def parsed(parse: Callable[[Any], T], raw: Any) -> T | NoAnswer:
    """Return what `parse` makes of an answer; a NoAnswer if it raises one of `PARSE_ERRORS`."""
    try:
        _check_sizes(raw)
        return parse(raw)
    except PARSE_ERRORS as error:
        return NoAnswer(text(f"invalid response from the node: {type(error).__name__}: {error}"))


def reader(kind: type[T]) -> Callable[[Any], T]:
    """Return the parser that makes a `kind` of a JSON value, as `util.answers.reader` does.

    Text becomes one line, a float must be finite, and any other type is called with the value.
    """
    return answers.reader(kind, _scalar)


def _scalar(kind: Any) -> answers.Parser:
    parsers: dict[Any, answers.Parser] = {str: text, float: finite}
    return cast(answers.Parser, parsers.get(kind, kind))


def text(raw: Any, limit: int = _MAX_LINE) -> str:
    """Return what a node answered as one line of at most `limit` characters."""
    return printable(str(raw), limit)


def finite(raw: Any) -> float:
    """Return a number that can be rounded and compared. Raises ValueError for infinity and NaN."""
    number = float(raw)
    if not isfinite(number):
        raise ValueError(f"not a finite number: {raw!r:.40}")
    return number


def _check_sizes(answer: Any) -> None:
    """Raise ValueError for sizes that no working node sends and no verdict can handle."""
    count, waiting = 0, [answer]
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            if len(value) > _MAX_TEXT or _LONG_NUMBER.fullmatch(value):
                raise ValueError(f"a text or number of {len(value)} characters")
        elif isinstance(value, int | float) and not abs(value) < _MAX_NUMBER:
            raise ValueError("a number that is too large, or NaN")
    if count > _MAX_VALUES:
        raise ValueError(f"{count} values")
