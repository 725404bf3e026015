"""Ask a node, and parse its answer, which may be anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from math import isfinite
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from orchestrator.errors import NodeError
from orchestrator.preflight.model import NoAnswer
from orchestrator.remote.agent import Agent
from orchestrator.util.text import printable

T = TypeVar("T")

_PARSE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
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
    """Return what `parse` makes of an answer; a NoAnswer if it raises one of `_PARSE_ERRORS`."""
    try:
        _check_sizes(raw)
        return parse(raw)
    except _PARSE_ERRORS as error:
        return NoAnswer(text(f"invalid response from the node: {type(error).__name__}: {error}"))


def reader(kind: type[T]) -> Callable[[Any], T]:
    """Return the parser that makes a `kind` of a JSON value; it raises one of `_PARSE_ERRORS`.

    `kind` is a dataclass (from an object; fields with a default may be missing), a tuple, frozenset or
    mapping of kinds, `X | None`, or a type that is called with the value. Text becomes one line, and a
    float must be finite. `Annotated[X, parse]` names a parser of its own.
    """
    return _reader(cast(Hashable, kind))


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    parsers: dict[Any, Callable[[Any], Any]] = {str: text, float: finite}
    origin, of = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return partial(_read_fields, kind)
    if origin is Annotated:
        return cast(Callable[[Any], Any], of[1])
    if origin in (UnionType, Union):
        return partial(optional, _reader(of[0]))
    if origin in (Mapping, dict):
        key, value = map(_reader, of)
        return lambda raw: {key(name): value(each) for name, each in raw.items()}
    if origin is frozenset or of[1:] == (Ellipsis,):
        return lambda raw: origin(map(_reader(of[0]), raw))
    if origin is tuple:
        return lambda raw: tuple(_reader(k)(each) for k, each in zip(of, raw, strict=True))
    return cast(Callable[[Any], Any], parsers.get(kind, kind))


def _read_fields(kind: Any, raw: Any) -> Any:
    given = {
        name: read(raw[name]) for name, read, required in _fields(kind) if required or name in raw
    }
    return kind(**given)


@cache
def _fields(kind: Any) -> list[tuple[str, Callable[[Any], Any], bool]]:
    """Return the name and parser of each field of a dataclass, and whether it is required."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        (each.name, _reader(hints[each.name]), each.default is each.default_factory is MISSING)
        for each in fields(kind)
    ]


def text(raw: Any, limit: int = _MAX_LINE) -> str:
    """Return what a node answered as one line of at most `limit` characters."""
    return printable(str(raw), limit)


def optional(parse: Callable[[Any], T], raw: Any) -> T | None:
    """Return what `parse` makes of `raw`; None for null."""
    return None if raw is None else parse(raw)


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
