"""Split the lines of an ssh_config file as OpenSSH does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.remote.ssh.match_conditions import STANDS_ALONE

_BLANK = " \t\r\f"
# The keyword, perhaps in quotes; then blanks, with at most one `=` among them.
_DIRECTIVE = re.compile(
    r'(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"=]++))\s*+=?\s*+(?P<value>.*)', re.ASCII
)
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
        line = raw.strip(_BLANK)
        if not line or line.startswith("#"):
            continue
        match = _DIRECTIVE.fullmatch(line)
        if match is None or "\0" in line:
            raise BadLine(number)
        keyword = match["plain"] if match["quoted"] is None else match["quoted"]
        yield Directive(number, keyword.lower(), match["value"])


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


def criteria(arguments: list[str]) -> list[str]:
    """Return the words of a Match line, with `name=pattern` split in two. Raises ValueError."""
    found: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, pattern = argument.partition("=")
        if not name:
            raise ValueError("a condition of Match has no name")
        found.append(name)
        if equals:
            found.append(pattern)
        elif name.lower().removeprefix("!") not in STANDS_ALONE:
            found += [word for word in [next(rest, None)] if word is not None]
    return found
