"""TOML: read a file, and find where a key stands in its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import printable

Key = tuple[str | int, ...]
"""The keys that lead to a value; a number for an element of a list."""
Place = tuple[int, int]
"""Line and column, from 1."""

_READ_TIMEOUT = 5.0  # seconds, for a pipe
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*+"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'"
    r"|#[^\n]*+|[ \t\r]++|\n|[\[\]{}=,.]|[^\s\[\]{}=,.#\"']++"
)
_BLANK = tuple(" \t\r#")


class NotToml(ValueError):
    """It is not TOML: `text` is why, `place` where (None if that is unknown), and `str()` both."""

    def __init__(self, text: str, place: Place | None = None) -> None:
        where = "" if place is None else f" (at line {place[0]}, column {place[1]})"
        super().__init__(f"{text}{where}")
        self.text, self.place = text, place


def read_text(path: Path, max_bytes: int) -> str:
    """Return the text of a file.

    Raises FileNotFoundError, NotToml if it is not UTF-8, and ValueError if it cannot be read.
    """
    try:
        data = read_bounded(path, max_bytes, _READ_TIMEOUT)
    except Unreadable as error:
        raise ValueError(f"it cannot be read: {error}") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode().split("\n")
        raise NotToml("it is not UTF-8", (len(before), len(before[-1]) + 1)) from None


def parse(text: str) -> dict[str, Any]:
    """Return the content of a TOML text. Raises NotToml."""
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise NotToml("it is not TOML: nested too deep") from None
    except ValueError as error:
        said = printable(str(error))
        found = re.search(r" \(at line (\d+), column (\d+)\)$", said)
        if found is None:
            raise NotToml(f"it is not TOML: {said}") from None
        place = (int(found[1]), int(found[2]))
        raise NotToml(f"it is not TOML: {said[: found.start()]}", place) from None


def places(text: str) -> dict[Key, Place]:
    """Return where each key and each element of a list first stands in `text`, which must be TOML."""
    return _Places(text).found


class _Places:
    """Walks over the tokens of a valid text."""

    def __init__(self, text: str) -> None:
        self.found: dict[Key, Place] = {}
        self._sizes: dict[Key, int] = {}  # of lists of tables
        self._tokens = list(_tokens(text))
        self._next = 0
        table: Key = ()
        while self._next < len(self._tokens):
            if self._peek() == "\n":
                self._take()
            elif self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self) -> tuple[str, Place]:
        self._next += 1
        return self._tokens[self._next - 1]

    def _header(self) -> Key:
        """Read `[a.b]` or `[[a.b]]`, and return the table that it starts."""
        brackets = 0
        while self._peek() == "[":
            brackets += self._take()[0] == "["
        table = self._name((), in_list=True)
        if brackets == 2:
            self._sizes[table] = self._sizes.get(table, 0) + 1
            table = self._element(table)
        for _ in range(brackets):
            self._take()
        return table

    def _element(self, table: Key) -> Key:
        """Return the last table of a list of tables; any other table as it is."""
        if table not in self._sizes:
            return table
        element = (*table, self._sizes[table] - 1)
        self.found.setdefault(element, self.found[table])
        return element

    def _name(self, table: Key, *, in_list: bool = False) -> Key:
        """Read a key, with dots or without, and return it below `table`."""
        path = table
        while True:
            word, place = self._take()
            path = (*path, _plain(word))
            self.found.setdefault(path, place)
            if self._peek() != ".":
                return path
            self._take()
            path = self._element(path) if in_list else path

    def _pair(self, table: Key) -> None:
        path = self._name(table)
        self._take()  # the =
        self._value(path)

    def _value(self, path: Key) -> None:
        first = self._peek()
        if first not in ("[", "{"):
            while self._peek() not in ("", "\n", ",", "]", "}"):
                self._take()
            return
        self._take()
        count, end = 0, "]" if first == "[" else "}"
        while self._peek() != end:
            if self._peek() in ("\n", ","):
                self._take()
            elif first == "{":
                self._pair(path)
            else:
                element = (*path, count)
                self.found[element] = self._tokens[self._next][1]
                self._value(element)
                count += 1
        self._take()


def _tokens(text: str) -> Iterator[tuple[str, Place]]:
    """Yield the tokens with their places, without blanks and comments."""
    line, start = 1, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if not token.startswith(_BLANK):
            yield token, (line, match.start() - start + 1)
        if "\n" in token:
            line += token.count("\n")
            start = match.start() + token.rindex("\n") + 1


def _plain(word: str) -> str:
    """Return a key as it is meant, without its quotes."""
    if word[0] not in "\"'":
        return word
    (value,) = parse(f"k = {word}").values()
    return str(value)
