"""Ask a node, and take apart what it answers, which may be anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar

from orchestrator.errors import NodeError
from orchestrator.preflight.model import NoAnswer
from orchestrator.remote.agent import Agent
from orchestrator.util.text import printable

T = TypeVar("T")

_SENSELESS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_MOST_VALUES = 50_000
_LONGEST_TEXT = 1 << 16
_ENDLESS = re.compile(r"\s*[+-]?[\d_]{30,}\s*")  # what int() takes as well
_LARGEST_NUMBER = 1 << 65  # counters have 64 bits
_LONGEST = 300


async def ask(
    agent: Agent, verb: str, parse: Callable[[Any], T], *, timeout: float = 30.0, **arguments: Any
) -> T | NoAnswer:
    """Return what a node answers, as `parse` understands it, within `timeout` seconds."""
    try:
        return parsed(parse, await agent.ask(verb, timeout=timeout, **arguments))
    except NodeError as error:
        return NoAnswer(error.text)


def parsed(parse: Callable[[Any], T], raw: Any) -> T | NoAnswer:
    """Return what `parse` makes of an answer; what it raises of it is that the answer makes no sense."""
    try:
        _check_sizes(raw)
        return parse(raw)
    except _SENSELESS as error:
        return NoAnswer(text(f"the node's answer makes no sense: {type(error).__name__}: {error}"))


def text(raw: Any, longest: int = _LONGEST) -> str:
    """Return a word or line of a node's as one line, of at most `longest` characters."""
    return printable(str(raw), longest)


def optional(kind: Callable[[Any], T], raw: Any) -> T | None:
    """Return what `kind` makes of `raw`; None for null."""
    return None if raw is None else kind(raw)


def finite(raw: Any) -> float:
    """Return a number that can be rounded and compared. Raises ValueError for none."""
    number = float(raw)
    if not isfinite(number):
        raise ValueError(f"not a finite number: {raw!r:.40}")
    return number


def _check_sizes(answer: Any) -> None:
    """Raise ValueError for what no honest node says, and verdicts could not calculate with."""
    count, waiting = 0, [answer]
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            if len(value) > _LONGEST_TEXT or _ENDLESS.fullmatch(value):
                raise ValueError(f"a text, or a number, of {len(value)} characters")
        elif isinstance(value, int | float) and not abs(value) < _LARGEST_NUMBER:
            raise ValueError("a number that is none, or is too large")
    if count > _MOST_VALUES:
        raise ValueError(f"{count} values")
