"""Signatures of a site, from TOML files: data only, so a wrong one costs no more than a warning.

The files are those of $ORCH_SIGNATURES, else `signatures.toml` in the user's and in the site's
configuration folder of orch. Their ids start with `site.`, so they never clash with those of orch, also of
later releases. They take precedence over orch's signatures of the same kind: their authors know the
machines.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import platformdirs

from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.util.text import printable
from orchestrator.util.toml import parse, read_text

VARIABLE = "ORCH_SIGNATURES"
"""Names the files to read instead of those in the configuration folders, separated as in PATH."""
PREFIX = "site."
"""The start of the ids of a site's signatures."""
MAX_BYTES = 1 << 20
MAX_SIGNATURES = 256
MAX_PATTERNS = 16
"""How many patterns a signature may have."""

_FILE = "signatures.toml"
_TABLE = "signature"
_MAX_PROBLEMS = 20
_MAX_TEXT = 400
_MAX_QUOTE = 60
_ID = re.compile(r"site\.[a-z0-9][a-z0-9._-]{0,62}")
_CHECK = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_KINDS = {kind.name.lower(): kind for kind in Kind}
_REQUIRED = ("id", "meaning", "patterns", "cause", "fix")
_FILLED_IN = ("meaning", "cause", "fix")


@dataclass(frozen=True)
class SiteSignatures:
    """The signatures in the files; `problems` has a sentence for each part that is left out."""

    signatures: tuple[Signature, ...] = ()
    problems: tuple[str, ...] = ()


def site_signatures() -> SiteSignatures:
    """Return the signatures of the user and of the site; each file is read once in a process.

    Never raises, whatever the files contain.
    """
    named = os.environ.get(VARIABLE)
    if named:
        paths = [Path(each) for each in named.split(os.pathsep) if each]
    else:
        folders = (platformdirs.user_config_path("orch"), platformdirs.site_config_path("orch"))
        paths = [folder / _FILE for folder in folders]
    with suppress(FileNotFoundError):  # the current folder was removed: no file is found from it
        paths = [path.absolute() for path in paths]
    return _read_once(tuple(paths), bool(named))


@lru_cache(maxsize=4)
def _read_once(paths: tuple[Path, ...], are_named: bool) -> SiteSignatures:
    return read_signatures(paths, must_exist=are_named)


def read_signatures(paths: Sequence[Path], *, must_exist: bool = True) -> SiteSignatures:
    """Return the signatures in the files, in order; a missing file is a problem if it `must_exist`."""
    known: dict[str, Signature] = {}
    problems: list[str] = []
    for path in dict.fromkeys(paths):
        try:
            content = _read(path)
        except FileNotFoundError:
            if must_exist:
                problems.append(f"{_quoted(path)} is left out: there is no such file")
            continue
        except ValueError as error:
            problems.append(f"{_quoted(path)} is left out: {error}")
            continue
        found = _add(path, content, known)
        problems += found[:_MAX_PROBLEMS]
        if len(found) > _MAX_PROBLEMS:
            problems.append(f"{_quoted(path)} has {len(found) - _MAX_PROBLEMS:,} more problems")
    return SiteSignatures(tuple(known.values()), tuple(problems))


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file. Raises FileNotFoundError, and ValueError, which says what is wrong."""
    return parse(read_text(path, MAX_BYTES))


def _add(path: Path, content: dict[str, Any], known: dict[str, Signature]) -> list[str]:
    """Add the signatures of a file to those `known`, and return what is wrong with others."""
    problems = [
        f"{_quoted(key)} in {_quoted(path)} is left out: each signature starts with [[{_TABLE}]]"
        for key in content
        if key != _TABLE
    ]
    tables = content.get(_TABLE, [])
    for number, table in enumerate(tables if isinstance(tables, list) else [tables], 1):
        name = table.get("id") if isinstance(table, dict) else None
        which = _quoted(name) if isinstance(name, str) else f"number {number}"
        try:
            if len(known) >= MAX_SIGNATURES:
                raise ValueError(f"the limit is {MAX_SIGNATURES} signatures")
            signature = _signature(table, path)
            if signature.id in known:
                file = printable(known[signature.id].file or "")
                raise ValueError(f"{file} already has a signature with that id")
            known[signature.id] = signature
        except ValueError as error:
            problems.append(f"signature {which} of {_quoted(path)} is left out: {error}")
    return problems


def _signature(table: Any, path: Path) -> Signature:
    """Return the signature in a table. Raises ValueError, which says what is wrong with it."""
    if not isinstance(table, dict):
        raise ValueError("it is not a table")
    for key in table:
        if key not in _PARSERS:
            raise ValueError(f"unknown key {_quoted(key)}, {_expected(key, _PARSERS)}")
    if missing := [key for key in _REQUIRED if key not in table]:
        raise ValueError(f"it has no {', '.join(missing)}")
    values = {key: _PARSERS[key](key, value) for key, value in table.items()}
    for key in _FILLED_IN:
        _check_fields(key, values[key], values["patterns"])
    if values.get("kind") is Kind.CASCADE and "after" not in values:
        raise ValueError("it has no after: a cascade names what it follows from")
    return Signature(**values, file=str(path))


def _name(pattern: re.Pattern[str], expected: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"its {key} is {_quoted(value)}; expected {expected}")
    return value


def _kind(key: str, value: Any) -> Kind:
    if not isinstance(value, str) or value not in _KINDS:
        raise ValueError(f"its kind is {_quoted(value)}, {_expected(value, _KINDS)}")
    return _KINDS[value]


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key} is true or false")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"its {key} is not a text")
    if not value.isprintable():
        raise ValueError(f"its {key} has more than one line, or characters that cannot be printed")
    if len(value) > _MAX_TEXT:
        raise ValueError(f"its {key} has {len(value):,} characters, the limit is {_MAX_TEXT}")
    return value


def _patterns(key: str, value: Any) -> tuple[str, ...]:
    from orchestrator.diagnose.site_patterns import checked

    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise ValueError("its patterns are not a list of texts")
    if len(value) > MAX_PATTERNS:
        raise ValueError(f"it has {len(value):,} patterns, the limit is {MAX_PATTERNS}")
    for text in value:
        try:
            checked(text)
        except ValueError as error:
            raise ValueError(f"its pattern {_quoted(text)}: {error}") from None
    return tuple(value)


_PARSERS: Mapping[str, Callable[[str, Any], Any]] = {
    "id": partial(_name, _ID, f"a name such as {PREFIX}switch-down, in lower case"),
    "meaning": _text,
    "patterns": _patterns,
    "cause": _text,
    "fix": _text,
    "kind": _kind,
    "after": _text,
    "check": partial(_name, _CHECK, "the name of a check, such as net.tcp"),
    "is_survivable": _flag,
}


def _check_fields(key: str, text: str, patterns: Sequence[str]) -> None:
    """Raise ValueError unless every `{name}` in the text is a named group of every pattern."""
    common = set[str].intersection(*(set(re.compile(each).groupindex) for each in patterns))
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"its {key}: {error}; a brace is written {{{{ or }}}}") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in common or spec or conversion):
            raise ValueError(
                f"its {key} has {{{printable(field, _MAX_QUOTE)}}}, which is not a named group of every "
                "pattern; a brace is written {{ or }}"
            )


def _expected(word: Any, valid: Iterable[str]) -> str:
    """Return the end of a message about a wrong word: the most likely one, or else all of them."""
    valid = list(valid)
    near = get_close_matches(str(word)[:_MAX_QUOTE].lower(), valid, 1)
    return f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(valid)}"


def _quoted(value: Any) -> str:
    if isinstance(value, Path):
        return printable(str(value))
    return repr(printable(str(value), _MAX_QUOTE))
