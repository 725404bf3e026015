"""The lines of a host list, in words, without comments.

Comments are those of all tools that read such lists: `#` and `//` up to the end of the line, and `/* */`
(PRRTE's hostfile_lex.l). A byte-order mark, CRLF, and bytes in comments that are not UTF-8 do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

_COMMENT = re.compile(r"#[^\r\n]*|//[^\r\n]*|/\*(?>.*?(?:\*/|\Z))", re.DOTALL)
_NOT_BREAK = re.compile(r"[^\r\n]")
_BREAK = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(
    r"(?:(?P<key>[^\s=]{1,1000}+)(?:\s*+(?==))?+|(?==))(?:=\s*+(?P<value>[^\s=]{0,1000}+))?+"
)
_MAX_WORDS = 64  # of a line; a line of a hostfile has five at most


@dataclass(frozen=True)
class Word:
    """A key and its value, or a word, which is a key without one; `column` counts from 1."""

    key: str
    value: str | None
    column: int

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"


@dataclass(frozen=True)
class Line:
    """A line that has at least one word; `content` is all of it, without comments and blanks around it."""

    number: int
    content: str
    words: tuple[Word, ...]


def decode(content: bytes) -> str:
    """Return `content` as text; bytes that are not UTF-8 become half characters, which no name has."""
    return content.decode("utf-8-sig", errors="surrogateescape")


def read_lines(text: str) -> Iterator[Line]:
    """Yield the lines of `text` that say something."""
    bare = _COMMENT.sub(lambda comment: _NOT_BREAK.sub(" ", comment[0]), text)
    for number, line in enumerate(_BREAK.split(bare), 1):
        if words := tuple(_words(line)):
            yield Line(number, line.strip(), words)


def _words(line: str) -> Iterator[Word]:
    for match in islice(_WORD.finditer(line), _MAX_WORDS):
        yield Word(match["key"] or "", match["value"], match.start() + 1)
