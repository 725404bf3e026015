"""Find the file of defaults: the nearest one, from the current folder up.

As with ruff and uv, the first folder that has one counts, and a pyproject.toml without `[tool.orch]` is not
one. As with git (safe.directory) and ssh (StrictModes), a file that another user owns or can write to is
refused, unless the user names it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.util.text import escaped, printable
from orchestrator.util.toml import Key, NotToml, parse, read_text

VARIABLE = "ORCH_CONFIG"
"""Names the file to read instead of the nearest one; /dev/null: none."""
FILE, PROJECT_FILE = "orch.toml", "pyproject.toml"

_MAX_BYTES = 1 << 20
_IN_PROJECT: Key = ("tool", "orch")
_MENTION = re.compile(r"\borch\b|\\u")


@dataclass(frozen=True)
class Source:
    """A file of defaults: its text, its table of defaults, and the keys that lead to that table."""

    path: Path
    text: str
    table: Any
    prefix: Key

    def __str__(self) -> str:
        return shown(self.path)


def short(path: Path) -> str:
    """Return a path from the current folder if that is shorter, else as it is."""
    if os.pardir in path.parts:
        return str(path)  # what is before it may be a link
    try:
        return min(os.path.relpath(path), str(path), key=len)
    except OSError:  # the current folder was removed
        return str(path)


def shown(path: Path) -> str:
    """Return a path for messages."""
    return escaped(short(path))


def find_source() -> Source | None:
    """Return the file of defaults, None without one. Raises UsageError if it cannot be used."""
    named = os.environ.get(VARIABLE)
    if named:
        source = _read(Path(named).absolute())
        if source is None:
            raise UsageError(f"{VARIABLE}: {escaped(named)} has no [tool.orch]")
        return source
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None
    for folder in (here, *here.parents):
        found = [each for name in (FILE, PROJECT_FILE) if (each := _look(folder / name))]
        if len(found) > 1:
            raise UsageError(
                f"{found[0]} and [tool.orch] in {found[1]} both set defaults",
                remedy=f"keep one of them, or name one: {VARIABLE}={found[0]}",
            )
        if found:
            _require_own(found[0])
            return found[0]
    return None


def _look(path: Path) -> Source | None:
    try:
        is_file = path.is_file()
    except OSError:  # in a folder that this user cannot search
        return None
    return _read(path) if is_file else None


def _read(path: Path) -> Source | None:
    """Return the file's defaults, None if it is a pyproject.toml without. Raises UsageError."""
    is_project = path.name == PROJECT_FILE
    prefix = _IN_PROJECT if is_project else ()
    try:
        text = read_text(path, _MAX_BYTES)
        if is_project and not _MENTION.search(text):
            return None  # most are: this is faster than to parse it
        table: Any = parse(text)
    except FileNotFoundError:
        raise UsageError(f"{VARIABLE}: {shown(path)}: there is no such file") from None
    except NotToml as error:
        place = "" if error.place is None else ":{}:{}".format(*error.place)
        raise UsageError(f"{shown(path)}{place}: {error.text}") from None
    except ValueError as error:
        raise UsageError(
            f"{shown(path)}: {error}", remedy=f"to ignore it: {VARIABLE}=/dev/null"
        ) from None
    for key in prefix:
        if not isinstance(table, dict) or key not in table:
            return None
        table = table[key]
    return Source(path, text, table, prefix)


def _require_own(source: Source) -> None:
    from orchestrator.node import trust

    try:
        trust.require_own(str(source.path), source.path.stat())
    except trust.Untrusted as error:
        raise UsageError(
            f"{source} sets defaults, and it {printable(error.why)}",
            remedy=f"{printable(error.remedy, 1000)}; to use it as it is: {VARIABLE}={source}; to "
            f"ignore it: {VARIABLE}=/dev/null",
        ) from None
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from None
