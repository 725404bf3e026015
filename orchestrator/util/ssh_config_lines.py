"""Split the lines of an ssh_config file as OpenSSH does (readconf.c, misc.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = " \t\r"
# The keyword, perhaps in quotes; then blanks, with at most one `=` among them.
_DIRECTIVE = re.compile(
    r'(?:"(?P<quoted>[^"]+)"[ \t\r]*+|'
    r'(?P<plain>[^ \t\r"=#\0][^ \t\r"=\0]*+)(?=[ \t\r=])[ \t\r]*+=?[ \t\r]*+)'
    r"(?P<value>[^\0]+)"
)
_DELIMITER = re.compile(r'[ \t\r"=]')
_ESCAPED = "'\"\\"


@dataclass(frozen=True)
class Directive:
    """One line with a keyword: the keyword in lower case, and the rest unchanged."""

    line: int
    keyword: str
    value: str


class BadLine(Exception):
    """A line is invalid in an ssh_config file; the argument is its number."""


def directives(text: str) -> Iterator[Directive]:
    """Yield the directives of a file; line numbers count from 1.

    Raises BadLine for a line that is neither a comment nor a keyword with a value.
    """
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip(_BLANK + "\f").lstrip(_BLANK)
        if not line or line.startswith("#"):
            continue
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            raise BadLine(number)
        yield Directive(number, (match["plain"] or match["quoted"]).lower(), match["value"])


def words(value: str) -> list[str]:
    """Return the words of a value: quotes keep blanks, `#` starts a comment.

    A backslash escapes quotes, a backslash and (outside quotes) a space; elsewhere it is literal, as in
    `DOMAIN\\user`. Raises ValueError if a quote is not closed.
    """
    found: list[str] = []
    word: list[str] | None = None
    quote = ""
    position = 0
    while position < len(value):
        char, after = value[position], value[position + 1 : position + 2]
        position += 1
        if word is None:
            if char in " \t":
                continue
            if char == "#":
                break
            word = []
        if char == "\\" and after and (after in _ESCAPED or (after == " " and not quote)):
            word.append(after)
            position += 1
        elif char in " \t" and not quote:
            found.append("".join(word))
            word = None
        elif char in ("'", '"') and quote in ("", char):
            quote = "" if quote else char
        else:
            word.append(char)
    if quote:
        raise ValueError("a quote is not closed")
    return found if word is None else [*found, "".join(word)]


def conditions(value: str) -> Iterator[str]:
    """Yield the words of a Match line, whose blanks and `=` separate conditions and their patterns.

    Raises ValueError if a quote is not closed, or a word is empty.
    """
    rest: str | None = value
    while rest:
        match = _DELIMITER.search(rest)
        if match is None:
            word, rest = rest, None
        elif match[0] == '"':
            head, tail = rest[: match.start()], rest[match.end() :]
            body, quote, after = tail.partition('"')
            if not quote:
                raise ValueError("a quote is not closed")
            word, rest = head + body, after.lstrip(_BLANK)
        else:
            word, after = rest[: match.start()], rest[match.end() :].lstrip(_BLANK)
            if match[0] != "=" and after.startswith("="):
                after = after[1:].lstrip(_BLANK)
            rest = after
        if word.startswith("#"):
            return
        if not word:
            raise ValueError("a condition of Match has no name")
        yield word
