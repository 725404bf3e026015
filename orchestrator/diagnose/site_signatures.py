"""Signatures of a site's own, from TOML files: data only, so a faulty one costs a warning and no more.

The files are those of $ORCH_SIGNATURES, else `signatures.toml` in the user's and in the site's
configuration folder of orch. Their ids begin with `site.`, so that none is one of orch's own, also of a
later release. Where a line fits one of theirs and one of orch's of the same kind, theirs counts: whoever
wrote it knows the machines.
"""

from __future__ import annotations

import os
import re
import string
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import printable

VARIABLE = "ORCH_SIGNATURES"
"""Names the files to read instead of those in the configuration folders, as PATH names folders."""
PREFIX = "site."
"""How the ids of a site's signatures begin."""
MOST_BYTES = 1 << 20
MOST_SIGNATURES = 256
MOST_PATTERNS = 16
"""So many patterns a signature may have."""

_NAME = "signatures.toml"
_TABLE = "signature"
_PATIENCE = 5.0  # seconds for what is a pipe
_MOST_PROBLEMS = 20
_LONGEST_TEXT = 400
_LONGEST_QUOTE = 60
_ID = re.compile(r"site\.[a-z0-9][a-z0-9._-]{0,62}")
_CHECK = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_KINDS = {kind.name.lower(): kind for kind in Kind}
_FILLED_IN = ("meaning", "cause", "fix")
_KEYS = tuple(field.name for field in fields(Signature) if field.name != "file")
_REQUIRED = tuple(field.name for field in fields(Signature) if field.default is MISSING)


@dataclass(frozen=True)
class SiteSignatures:
    """What the files have; `problems` says what of them is left out, a sentence each."""

    signatures: tuple[Signature, ...] = ()
    problems: tuple[str, ...] = ()


def site_signatures() -> SiteSignatures:
    """Return the signatures of the site and of the user; each file is read once in a process.

    Raises nothing for whatever the files are.
    """
    named = os.environ.get(VARIABLE)
    if named:
        paths = [Path(each) for each in named.split(os.pathsep) if each]
    else:
        folders = (platformdirs.user_config_path("orch"), platformdirs.site_config_path("orch"))
        paths = [folder / _NAME for folder in folders]
    with suppress(
        FileNotFoundError
    ):  # the folder that we are in is gone: nothing is found from there
        paths = [path.absolute() for path in paths]
    return _read_once(tuple(paths), bool(named))


@lru_cache(maxsize=4)
def _read_once(paths: tuple[Path, ...], are_named: bool) -> SiteSignatures:
    return read_signatures(paths, must_exist=are_named)


def read_signatures(paths: Sequence[Path], *, must_exist: bool = True) -> SiteSignatures:
    """Return what the files have, in their order; one that is not there is a problem if it `must_exist`."""
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
        problems += _few(path, _add(path, content, known))
    return SiteSignatures(tuple(known.values()), tuple(problems))


def _few(path: Path, problems: list[str]) -> list[str]:
    more = len(problems) - _MOST_PROBLEMS
    if more > 0:
        problems[_MOST_PROBLEMS:] = [f"{_quoted(path)} has {more:,} more problems"]
    return problems


def _read(path: Path) -> dict[str, Any]:
    """Return what a file says. Raises FileNotFoundError, and ValueError, which says what is wrong."""
    try:
        data = read_bounded(path, MOST_BYTES, _PATIENCE)
    except Unreadable as error:
        raise ValueError(f"it cannot be read: {error}") from None
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ValueError(f"it is not UTF-8 (at line {line}, column {column})") from None
    except (ValueError, RecursionError) as error:  # it says at which line and column
        raise ValueError(f"it is not TOML: {printable(str(error))}") from None


def _add(path: Path, content: dict[str, Any], known: dict[str, Signature]) -> list[str]:
    """Add the signatures of a file to those that are `known`, and return what is wrong with others."""
    problems = [
        f"{_quoted(key)} in {_quoted(path)} is left out: before each signature stands [[{_TABLE}]]"
        for key in content
        if key != _TABLE
    ]
    tables = content.get(_TABLE, [])
    if not isinstance(tables, list):
        tables = [tables]
    for number, table in enumerate(tables, 1):
        name = table.get("id") if isinstance(table, dict) else None
        who = _quoted(name) if isinstance(name, str) else f"number {number}"
        try:
            if len(known) >= MOST_SIGNATURES:
                raise ValueError(f"there are {MOST_SIGNATURES} before it, which is the most")
            signature = _signature(table, path)
            if signature.id in known:
                file = printable(known[signature.id].file or "")
                raise ValueError(f"{file} has one of that id before")
            known[signature.id] = signature
        except ValueError as error:
            problems.append(f"signature {who} of {_quoted(path)} is left out: {error}")
    return problems


def _signature(table: Any, path: Path) -> Signature:
    """Return what a table says. Raises ValueError, which says what is wrong with it."""
    if not isinstance(table, dict):
        raise ValueError("it is not a table")
    for key in table:
        if key not in _KEYS:
            raise ValueError(f"unknown key {_quoted(key)}, {_meant(key, _KEYS)}")
    missing = [key for key in _REQUIRED if key not in table]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    texts = {key: _text(key, table[key]) for key in (*_FILLED_IN, "after") if key in table}
    patterns = _patterns(table["patterns"])
    for key in _FILLED_IN:
        _check_fields(key, texts[key], patterns)
    kind, after = _kind(table.get("kind", "root")), texts.get("after")
    if kind is Kind.CASCADE and after is None:
        raise ValueError("it has no after: a cascade says what it follows from")
    is_survivable = table.get("is_survivable", False)
    if not isinstance(is_survivable, bool):
        raise ValueError("is_survivable is true or false")
    return Signature(
        id=_named("id", table["id"], _ID, f"a name such as {PREFIX}switch-down, in small letters"),
        meaning=texts["meaning"],
        patterns=tuple(pattern.pattern for pattern in patterns),
        cause=texts["cause"],
        fix=texts["fix"],
        kind=kind,
        after=after,
        check=_named("check", table["check"], _CHECK, "the name of a check, such as net.tcp")
        if "check" in table
        else None,
        is_survivable=is_survivable,
        file=str(path),
    )


def _named(key: str, value: Any, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"its {key} is {_quoted(value)}; expected {what}")
    return value


def _kind(value: Any) -> Kind:
    if not isinstance(value, str) or value not in _KINDS:
        raise ValueError(f"its kind is {_quoted(value)}, {_meant(value, _KINDS)}")
    return _KINDS[value]


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"its {key} is no text")
    if not value.isprintable():
        raise ValueError(f"its {key} has more than one line, or characters that cannot be printed")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"its {key} has {len(value):,} characters, the most are {_LONGEST_TEXT}")
    return value


def _patterns(value: Any) -> list[re.Pattern[str]]:
    """Return them compiled."""
    from orchestrator.diagnose.site_patterns import checked

    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise ValueError("its patterns are no list of texts")
    if len(value) > MOST_PATTERNS:
        raise ValueError(f"it has {len(value):,} patterns, the most are {MOST_PATTERNS}")
    found = []
    for text in value:
        try:
            found.append(checked(text))
        except ValueError as error:
            raise ValueError(f"its pattern {_quoted(text)}: {error}") from None
    return found


def _check_fields(key: str, text: str, patterns: Sequence[re.Pattern[str]]) -> None:
    """Raise ValueError unless every `{name}` in the text is a named group of every pattern."""
    common = set[str].intersection(*(set(pattern.groupindex) for pattern in patterns))
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"its {key}: {error}; a brace is written {{{{ or }}}}") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in common or spec or conversion):
            raise ValueError(
                f"its {key} has {{{printable(field, _LONGEST_QUOTE)}}}, which is no named group of "
                "every pattern; a brace is written {{ or }}"
            )


def _meant(word: Any, valid: Iterable[str]) -> str:
    """Return the end of a message about a wrong word: the one most likely meant, or else all of them."""
    valid = list(valid)
    near = get_close_matches(str(word)[:_LONGEST_QUOTE].lower(), valid, 1)
    return f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(valid)}"


def _quoted(value: Any) -> str:
    if isinstance(value, Path):
        return printable(str(value))
    return repr(printable(str(value), _LONGEST_QUOTE))
