"""Ignore files in the syntax of gitignore(5), matched as git matches them.

A folder is walked from the top and an ignored directory is not entered, so a pattern is only ever
asked about an entry whose parents are wanted: it matches that entry itself or it does not.

An ignore file may have many thousands of lines. As in git (dir.c), a line without wildcards is compared
and not matched, and so is one that is `*` and an ending; here both are looked up, however many there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from orchestrator.sync.glob import SPECIAL, translate

_NONE = -1  # the number of no rule
_MEANINGFUL = re.compile(rb"[*?\[\\]")  # in a pattern


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file: its number (1-based), and the pattern as it stands there.

    `is_path`: it is for the path below the file's folder, else for the name alone.
    """

    glob: bytes
    ignores: bool
    directories_only: bool
    is_path: bool
    line: int
    text: bytes

    @property
    def is_catch_all(self) -> bool:
        """Whether it names nothing: `*`, `**`, `*/`."""
        return not self.glob.strip(b"*?/")


class Rules:
    """The patterns of one ignore file."""

    def __init__(self, text: bytes) -> None:
        self._rules: list[Rule] = []
        # Of files and of directories: patterns for the name alone, and for the whole path.
        self._names, self._paths = (_Index(), _Index()), (_Index(), _Index())
        for rule in _rules(text.removeprefix(b"\xef\xbb\xbf")):
            kinds = self._paths if rule.is_path else self._names
            for index in kinds[rule.directories_only :]:
                index.add(rule.glob, len(self._rules), is_path=rule.is_path)
            self._rules.append(rule)

    def find(self, path: bytes, *, directory: bool) -> Rule | None:
        """Return the rule that decides on the entry at `path`, the last that matches; None if none does.

        `path` is relative to the folder of the ignore file. A link to a directory is none.
        """
        name = path[path.rfind(b"/") + 1 :]
        last = self._names[directory].last(name, _NONE)
        last = self._paths[directory].last(path, last)
        return None if last == _NONE else self._rules[last]

    def ignored(self, path: bytes, *, directory: bool) -> bool | None:
        """Whether the entry at `path` is ignored (or, by `!`, wanted); None if no rule speaks of it."""
        rule = self.find(path, directory=directory)
        return None if rule is None else rule.ignores


def pattern_for(path: bytes, *, directory: bool) -> bytes:
    """Return the pattern that matches the entry at `path`, below the folder of the ignore file, alone."""
    pattern = b"/" + _MEANINGFUL.sub(rb"\\\g<0>", path)
    if directory:
        return pattern + b"/"
    return pattern[:-1] + b"\\ " if pattern.endswith(b" ") else pattern


def _rules(text: bytes) -> Iterator[Rule]:
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.startswith(b"#"):
            continue
        # git reads lines as C strings: a NUL ends one.
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
    """Numbered globs, and which of them is the last that matches a text."""

    def __init__(self) -> None:
        self._exact: dict[bytes, int] = {}
        self._endings: dict[int, dict[bytes, int]] = {}  # by their length
        # The others: by the length of the text they begin with, and that text.
        self._beginnings: dict[int, dict[bytes, list[_Glob]]] = {}

    def add(self, glob: bytes, number: int, *, is_path: bool) -> None:
        """Add a glob; `number` is larger than those before. In a path, `*` ends at a `/`."""
        special = SPECIAL.search(glob)
        if special is None:
            self._exact[glob] = number
            return
        ending = glob[1:]
        if glob.startswith(b"*") and not is_path and not SPECIAL.search(ending):
            self._endings.setdefault(len(ending), {})[ending] = number
            return
        literal, rest = glob[: special.start()], glob[special.start() :]
        alike = self._beginnings.setdefault(len(literal), {})
        alike.setdefault(literal, []).append(_Glob(rest, number))

    def last(self, text: bytes, best: int) -> int:
        """Return the largest number of those that match, and `best` unless that is larger."""
        best = max(best, self._exact.get(text, _NONE))
        for length, endings in self._endings.items():
            if length <= len(text):
                best = max(best, endings.get(text[len(text) - length :], _NONE))
        for length, beginnings in self._beginnings.items():
            for glob in reversed(beginnings.get(text[:length], ())):
                if glob.number <= best:
                    break
                if glob.regex is not None and glob.regex.fullmatch(text, length):
                    best = glob.number
                    break
        return best


@dataclass
class _Glob:
    """A glob's part from its first wildcard on."""

    glob: bytes
    number: int

    @cached_property
    def regex(self) -> re.Pattern[bytes] | None:
        """None for a malformed one, which to git, too, matches nothing."""
        try:
            return translate(self.glob)
        except ValueError:
            return None
