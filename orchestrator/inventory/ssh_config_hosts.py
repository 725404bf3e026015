"""The `Host` lines of the user's ssh_config files, in ssh's order, with those of included files.

What the files say about a host is read by the transports. Here it counts only which hosts they name.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import InventoryError
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.ssh_config_lines import BadLine, Directive, directives, words
from orchestrator.util.ssh_home import ssh_home, tilde
from orchestrator.util.ssh_patterns import matches
from orchestrator.util.text import printable

_MAX_BYTES = 4 << 20  # of one file
_MAX_DEPTH = 16  # nested includes, as in OpenSSH
_MAX_FILES = 4096
_READ_TIMEOUT = 5.0  # seconds, if it is a pipe


class HostLine(NamedTuple):
    """The patterns of one `Host` line; `around` has those of the lines in whose block it was included."""

    patterns: tuple[str, ...]
    around: tuple[tuple[str, ...], ...]

    def names(self) -> Iterator[str]:
        """Yield the names that are no pattern, and that the line applies to."""
        for pattern in self.patterns:
            if pattern and not re.search(r"[*?!]", pattern) and self.match(pattern) is not None:
                yield pattern

    def match(self, host: str) -> str | None:
        """Return the first pattern that `host` matches; None if the line does not apply to it."""
        found = [_first_match(host, patterns) for patterns in (*self.around, self.patterns)]
        return None if None in found else found[-1]


def _first_match(host: str, patterns: Sequence[str]) -> str | None:
    found = None
    for pattern in patterns:
        if matches(host, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return None
            found = found or pattern
    return found


def users_file() -> Path:
    """Return the path of the user's own file."""
    return ssh_home() / ".ssh" / "config"


def host_lines() -> list[HostLine]:
    """Return the `Host` lines of the user's file and of the system's.

    Raises InventoryError, with file and line, if one cannot be read.
    """
    walk = _Walk()
    for path in (users_file(), Path("/etc/ssh/ssh_config")):
        if os.access(path, os.R_OK):
            walk.read(path, path.parent, (), 0)
    return walk.found


@dataclass
class _Walk:
    found: list[HostLine] = field(default_factory=list)
    _files: int = 0

    def read(self, path: Path, base: Path, around: tuple[tuple[str, ...], ...], depth: int) -> None:
        """Add the lines of `path`; relative paths in it start at `base`."""
        self._files += 1
        if depth > _MAX_DEPTH or self._files > _MAX_FILES:
            raise InventoryError(f"{printable(str(path))}: too many files include each other")
        inner = around
        for line in _directives(path):
            if line.keyword == "host":
                patterns = tuple(_words(path, line))
                self.found.append(HostLine(patterns, around))
                inner = (*around, patterns)
            elif line.keyword == "match":
                inner = around  # whether it applies is known only when ssh connects
            elif line.keyword == "include":
                for pattern in _words(path, line):
                    for included in _expand(base, pattern):
                        self.read(included, base, inner, depth + 1)


def _directives(path: Path) -> list[Directive]:
    try:
        return list(directives(os.fsdecode(read_bounded(path, _MAX_BYTES, _READ_TIMEOUT))))
    except FileNotFoundError:
        return []  # removed since it was found
    except Unreadable as error:
        raise InventoryError(f"{printable(str(path))}: cannot be read: {error}") from None
    except BadLine as error:
        where = printable(f"{path}:{error.args[0]}", 400)
        raise InventoryError(f"{where}: expected a keyword and its value") from None


def _words(path: Path, line: Directive) -> list[str]:
    try:
        return words(line.value)
    except ValueError as error:
        raise InventoryError(f"{printable(f'{path}:{line.line}', 400)}: {error}") from None


def _expand(base: Path, pattern: str) -> list[Path]:
    """Return the files that a pattern of `Include` stands for, in ssh's order."""
    below = Path(glob.escape(str(base)), tilde(pattern))
    found = sorted(glob.glob(str(below)), key=os.fsencode)  # noqa: PTH207
    return [path for path in map(Path, found) if not path.is_dir()]
