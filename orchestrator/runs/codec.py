"""Dataclasses as JSON values and back; values of other types are refused.

docs/decisions/0035-records.md says why this is not done by pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

_PLAIN = frozenset((str, int, float, bool, NoneType))


def encode(value: Any) -> Any:
    """Return `value` as JSON: a dataclass's fields by name, an enum's value, a path's text."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    if is_dataclass(value):
        return {name: encode(getattr(value, name)) for name in _names_of(kind)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: encode(item) for name, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(encode, value))
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def decode(kind: Any, value: Any) -> Any:
    """Return the value of type `kind` from its JSON.

    `kind` is a dataclass of such types, a pydantic model, a tuple, frozenset or mapping of one, a union, a
    Literal, an enum, a path, or a type of JSON. Missing fields get their defaults. Raises ValueError with
    the position (`plan.nodes[0].devices: expected int, got str`), but not the value, which may be a secret.
    """
    try:
        return _decode(kind, value)
    except _Mismatch as error:
        raise ValueError(f"{error.where.lstrip('.') or 'value'}: {error.why}") from None


class _Mismatch(Exception):
    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why)
        self.why, self.where = why, where


def _decode(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    origin, of = get_origin(kind), get_args(kind)
    if origin in (tuple, frozenset):
        items = enumerate(_expect(list, value))
        return origin([_within(f"[{n}]", of[0], item) for n, item in items])
    if origin is Mapping:
        named = _expect(dict, value).items()
        return {name: _within(f"[{name!r:.100}]", of[1], item) for name, item in named}
    if origin in (UnionType, Union):  # Union if one of them is a Literal
        return _decode_union([each for each in of if each is not NoneType], value, NoneType in of)
    if origin is Literal:
        if value in of and type(value) in map(type, of):
            return value
        raise _Mismatch(f"expected one of {', '.join(map(repr, of))}")
    if is_dataclass(kind):
        return _decode_dataclass(kind, _expect(dict, value))
    if issubclass(kind, BaseModel):
        return _decode_model(kind, value)
    if issubclass(kind, (Enum, Path)):
        return _call(kind, _expect(str, value))
    if kind is float and type(value) is int:
        return _call(float, value)
    return _expect(kind, value)


def _expect(kind: type, value: Any) -> Any:
    if type(value) is not kind:  # a bool is not an int
        raise _Mismatch(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _within(place: str, kind: Any, value: Any) -> Any:
    try:
        return _decode(kind, value)
    except _Mismatch as error:
        error.where = place + error.where
        raise


def _call(kind: Any, /, *args: Any, **fields: Any) -> Any:
    try:
        return kind(*args, **fields)
    except (ValueError, OverflowError) as error:  # from an enum, or a dataclass with checks
        raise _Mismatch(f"not a valid {kind.__name__}: {error}") from None


def _decode_union(kinds: list[Any], value: Any, optional: bool) -> Any:
    if value is None and optional:
        return None
    for kind in kinds[:-1]:
        try:
            return _decode(kind, value)
        except _Mismatch:
            continue
    return _decode(kinds[-1], value)


def _decode_dataclass(kind: Any, value: dict[str, Any]) -> Any:
    hints, required = _fields_of(kind)
    if unknown := value.keys() - hints.keys():
        raise _Mismatch(f"unknown field {min(unknown)!r:.100} of {kind.__name__}")
    if missing := required - value.keys():
        raise _Mismatch(f"field {min(missing)!r} of {kind.__name__} is missing")
    return _call(
        kind, **{name: _within(f".{name}", hints[name], item) for name, item in value.items()}
    )


def _decode_model(kind: type[BaseModel], value: Any) -> Any:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise _Mismatch(first["msg"], "".join(f".{part}" for part in first["loc"])) from None


@cache
def _names_of(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the types of a dataclass's fields, and the names of those without a default."""
    hints, known = get_type_hints(kind), fields(kind)
    required = (f.name for f in known if f.default is MISSING and f.default_factory is MISSING)
    return {field.name: hints[field.name] for field in known}, frozenset(required)
