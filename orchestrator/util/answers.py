"""Parse JSON from a node, which is not trusted, into values of the expected types."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from orchestrator.errors import NodeError
from orchestrator.util.text import printable

T = TypeVar("T")
Parser = Callable[[Any], Any]

PARSE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_MAX_COUNT = (1 << 63) - 1
_MAX_TIME = 1e11  # seconds since the epoch; later times cannot be formatted
_MAX_PIDS = 100_000
_MAX_REASON = 200


def parse_answer(node: str, verb: str, parse: Callable[[Any], T], answer: Any) -> T:
    """Parse the answer of `node` to `verb` with `parse`.

    Raises NodeError if `parse` raises one of PARSE_ERRORS.
    """
    try:
        return parse(answer)
    except PARSE_ERRORS as error:
        reason = printable(f"{type(error).__name__}: {error}", _MAX_REASON)
        raise NodeError(
            node,
            f"invalid answer to {verb!r} ({reason})",
            remedy=f"try again; if it stays so, see what answers there: orch nodes --nodes {node}",
        ) from None


def count(value: Any, limit: int = _MAX_COUNT) -> int:
    """Return an int from 0 to `limit`. Raises ValueError for anything else, including a bool."""
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError(f"not a count: {value!r:.100}")
    return value


def flag(value: Any) -> bool:
    """Return true or false. Raises ValueError for anything else."""
    if type(value) is not bool:
        raise ValueError(f"neither true nor false: {value!r:.100}")
    return value


def text(value: Any) -> str:
    """Return a string unchanged. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.100}")
    return value


def texts(value: Any) -> list[str]:
    """Return a list of strings. Raises ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r:.100}")
    return [text(each) for each in value]


def timestamp(value: Any) -> float:
    """Return a time in seconds since the epoch. Raises ValueError if it is invalid or out of range."""
    if type(value) not in (int, float) or not 0 <= value < _MAX_TIME:
        raise ValueError(f"not a time: {value!r:.100}")
    return float(value)


def pids(value: Any) -> tuple[int, ...]:
    """Return a list of process ids. Raises ValueError for anything else."""
    if not isinstance(value, list) or len(value) > _MAX_PIDS:
        raise ValueError(f"not a list of processes: {value!r:.100}")
    return tuple(map(count, value))


def not_killed(answer: Any) -> tuple[int, ...]:
    """Return the processes that a sweep could not kill."""
    return pids(answer["left"])


def optional(parse: Callable[[Any], T], value: Any) -> T | None:
    """Parse `value` with `parse`; return None for null."""
    return None if value is None else parse(value)


def strict(kind: Any) -> Parser:
    """Return the parser of a scalar type, which accepts exactly that type for bool, int and str."""
    exact: dict[Any, Parser] = {bool: flag, int: count, str: text}
    return cast(Parser, exact.get(kind, kind))


def reader(kind: type[T], scalar: Callable[[Any], Parser] = strict) -> Callable[[Any], T]:
    """Return a parser from a JSON value to a `kind`; it raises one of PARSE_ERRORS.

    `kind` is a dataclass (from an object; fields with a default may be missing), a tuple, frozenset or
    mapping of kinds, or `X | None`; `scalar` returns the parser of any other type. `Annotated[X, parse]`
    specifies a parser.
    """
    return _reader(cast(Hashable, kind), scalar)


@cache
def _reader(kind: Any, scalar: Callable[[Any], Parser]) -> Parser:
    origin, of = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return partial(_read_fields, kind, scalar)
    if origin is Annotated:
        return cast(Parser, of[1])
    parsers = [_reader(each, scalar) for each in of if each is not Ellipsis]
    if origin in (Union, UnionType):
        return partial(optional, parsers[0])
    if origin in (Mapping, dict):
        key, value = parsers
        return lambda raw: {key(name): value(each) for name, each in raw.items()}
    if origin is frozenset or of[1:] == (Ellipsis,):
        return lambda raw: origin(map(parsers[0], raw))
    if origin is tuple:
        return lambda raw: tuple(p(each) for p, each in zip(parsers, raw, strict=True))
    return scalar(kind)


def _read_fields(kind: Any, scalar: Callable[[Any], Parser], raw: Any) -> Any:
    given = _fields(kind, scalar)
    return kind(**{n: read(raw[n]) for n, read, required in given if required or n in raw})


@cache
def _fields(kind: Any, scalar: Callable[[Any], Parser]) -> list[tuple[str, Parser, bool]]:
    """Return the name and parser of each field of a dataclass, and whether it is required."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        (
            each.name,
            _reader(hints[each.name], scalar),
            each.default is each.default_factory is MISSING,
        )
        for each in fields(kind)
    ]
