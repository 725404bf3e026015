"""Dataclasses as JSON values, and back; what does not have the types that they promise is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """Return `value` as JSON: of a dataclass its fields by name, of a path its text."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def parse(kind: Any, value: Any) -> Any:
    """Return what `plain` made of a value of the type `kind`.

    `kind` is a dataclass of such types, a tuple or mapping of one, one or None, a path, or what JSON has.
    Fields that are missing get their defaults. Raises ValueError for anything else.
    """
    try:
        return _parse(kind, value)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a {kind}: {error}") from error


def _parse(kind: Any, value: Any) -> Any:
    of = get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _parse(hints[name], item) for name, item in value.items()})
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_parse(of[0], item) for item in value)
    if get_origin(kind) is Mapping:
        return {name: _parse(of[1], item) for name, item in value.items()}
    if isinstance(kind, UnionType):
        return None if value is None else _parse(of[0], value)
    if kind is Path:
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # a bool is no int
        raise TypeError(f"{value!r:.100} is of another type")
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
