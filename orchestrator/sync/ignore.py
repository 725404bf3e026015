"""Ignore files in the syntax of gitignore(5), matched as git does.

A folder is walked from the top, and ignored directories are not entered. So patterns are compared only with
entries that have no ignored parent.

An ignore file may have many thousands of lines. As in git (dir.c), lines without wildcards, and those with
`*` and a suffix, are compared as text; here they are looked up in a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from orchestrator.sync.glob import SPECIAL, translate

_NONE = -1  # no rule


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file: `line` is its number, from 1, and `text` the pattern as written.

    With `is_path` it is matched with the path below the file's folder, else with the name only.
    """

    glob: bytes
    ignores: bool
    directories_only: bool
    is_path: bool
    line: int
    text: bytes

    @property
    def is_catch_all(self) -> bool:
        """Whether it matches everything: `*`, `**`, `*/`."""
        return not self.glob.strip(b"*?/")


class Rules:
    """The patterns of one ignore file."""

    def __init__(self, text: bytes) -> None:
        self._rules: list[Rule] = []
        # For files and for directories: patterns of names, and of paths.
        self._names, self._paths = (_Index(), _Index()), (_Index(), _Index())
        for rule in _rules(text.removeprefix(b"\xef\xbb\xbf")):
            kinds = self._paths if rule.is_path else self._names
            for index in kinds[rule.directories_only :]:
                index.add(rule.glob, len(self._rules), is_path=rule.is_path)
            self._rules.append(rule)

    def find(self, path: bytes, *, directory: bool) -> Rule | None:
        """Return the last rule that matches the entry at `path`; None if none does.

        `path` is relative to the folder of the ignore file. A link to a directory is not a directory.
        """
        name = path[path.rfind(b"/") + 1 :]
        last = self._names[directory].last(name, _NONE)
        last = self._paths[directory].last(path, last)
        return None if last == _NONE else self._rules[last]

    def ignored(self, path: bytes, *, directory: bool) -> bool | None:
        """Return whether `path` is ignored; False if `!` includes it, None if no rule matches."""
        rule = self.find(path, directory=directory)
        return None if rule is None else rule.ignores


def pattern_for(path: bytes, *, directory: bool) -> bytes:
    """Return the pattern that matches only the entry at `path`, relative to the folder of the ignore
    file.
    """
    pattern = b"/" + SPECIAL.sub(rb"\\\g<0>", path)
    if directory:
        return pattern + b"/"
    return pattern[:-1] + b"\\ " if pattern.endswith(b" ") else pattern


def _rules(text: bytes) -> Iterator[Rule]:
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.startswith(b"#"):
            continue
        # git reads lines as C strings, which end at a NUL.
        written = _without_trailing_spaces(line.removesuffix(b"\r").partition(b"\0")[0])
        glob = written
        ignores = not glob.startswith(b"!")
        glob = glob if ignores else glob[1:]
        directories_only = glob.endswith(b"/")
        glob = glob.removesuffix(b"/")
        if glob:
            is_path = b"/" in glob
            yield Rule(glob.removeprefix(b"/"), ignores, directories_only, is_path, number, written)


def _without_trailing_spaces(line: bytes) -> bytes:
    bare = line.rstrip(b" ")
    escaped = (len(bare) - len(bare.rstrip(b"\\"))) % 2
    return line[: len(bare) + escaped]


class _Index:
    """Numbered globs; finds the last one that matches a text."""

    def __init__(self) -> None:
        self._exact: dict[bytes, int] = {}
        self._endings: dict[int, dict[bytes, int]] = {}  # by length
        # The other globs, by the length of their literal prefix, then by the prefix.
        self._prefixed: dict[int, dict[bytes, list[_Glob]]] = {}

    def add(self, glob: bytes, number: int, *, is_path: bool) -> None:
        """Add a glob; `number` is larger than those before. In a path, `*` matches no `/`."""
        special = SPECIAL.search(glob)
        if special is None:
            self._exact[glob] = number
            return
        ending = glob[1:]
        if glob.startswith(b"*") and not is_path and not SPECIAL.search(ending):
            self._endings.setdefault(len(ending), {})[ending] = number
            return
        prefix, rest = glob[: special.start()], glob[special.start() :]
        globs = self._prefixed.setdefault(len(prefix), {})
        globs.setdefault(prefix, []).append(_Glob(rest, number))

    def last(self, text: bytes, best: int) -> int:
        """Return the number of the last glob that matches, or `best` if that is larger."""
        best = max(best, self._exact.get(text, _NONE))
        for length, endings in self._endings.items():
            if length <= len(text):
                best = max(best, endings.get(text[len(text) - length :], _NONE))
        for length, globs in self._prefixed.items():
            for glob in reversed(globs.get(text[:length], ())):
                if glob.number <= best:
                    break
                if glob.regex is not None and glob.regex.fullmatch(text, length):
                    best = glob.number
                    break
        return best


@dataclass
class _Glob:
    """The part of a glob from its first wildcard."""

    glob: bytes
    number: int

    @cached_property
    def regex(self) -> re.Pattern[bytes] | None:
        """None for a malformed glob, which matches nothing in git either."""
        try:
            return translate(self.glob)
        except ValueError:
            return None
