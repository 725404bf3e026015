"""Ignore files in the syntax of gitignore(5), matched as git matches them.

A folder is walked from the top and an ignored directory is not entered, so a pattern is only ever
asked about an entry whose parents are wanted: it matches that entry itself or it does not. Names
are bytes, as for git: `?` is one byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_POSIX_CLASS: dict[bytes, Callable[[str], bool]] = {
    b"alnum": str.isalnum,
    b"alpha": str.isalpha,
    b"blank": lambda char: char in " \t",
    b"cntrl": lambda char: char < " " or char == "\x7f",
    b"digit": str.isdigit,
    b"graph": lambda char: "!" <= char <= "~",
    b"lower": str.islower,
    b"print": lambda char: " " <= char <= "~",
    b"punct": lambda char: "!" <= char <= "~" and not char.isalnum(),
    b"space": lambda char: char in " \t\n\r",
    b"upper": str.isupper,
    b"xdigit": lambda char: char in "0123456789abcdefABCDEF",
}


class Rules:
    """The patterns of one ignore file."""

    def __init__(self, text: bytes) -> None:
        rules = list(_rules(text.removeprefix(b"\xef\xbb\xbf")))[::-1]
        # One alternative a rule, the last rule first: what matches first is what decides.
        self._verdicts = [ignored for ignored, _ in rules]
        self._regex = re.compile(b"|".join(b"(%s)" % regex for _, regex in rules), re.DOTALL)

    def ignored(self, path: bytes, *, directory: bool) -> bool | None:
        """Whether the entry at `path` is ignored (or, by `!`, wanted); None if no rule speaks of it.

        `path` is relative to the folder of the ignore file. A link to a directory is none.
        """
        match = self._regex.fullmatch((b"d" if directory else b"f") + path)
        return self._verdicts[match.lastindex - 1] if match and match.lastindex else None


def _rules(text: bytes) -> Iterator[tuple[bool, bytes]]:
    """Yield for each pattern whether it ignores, and a regular expression for kind and path."""
    for line in text.split(b"\n"):
        if line.startswith(b"#"):
            continue
        pattern = _without_trailing_spaces(line.removesuffix(b"\r"))
        wanted = pattern.startswith(b"!")
        pattern = pattern[wanted:]
        kind = b"d" if pattern.endswith(b"/") else b"[df]"
        pattern = pattern.removesuffix(b"/")
        if not pattern:
            continue
        anywhere = b"" if b"/" in pattern else b"(?:.*/)?"
        try:
            regex = _glob(pattern.removeprefix(b"/"))
        except ValueError:  # git, too, takes a malformed pattern as one that matches nothing
            continue
        yield not wanted, kind + anywhere + regex


def _without_trailing_spaces(line: bytes) -> bytes:
    bare = line.rstrip(b" ")
    escaped = (len(bare) - len(bare.rstrip(b"\\"))) % 2
    return line[: len(bare) + escaped]


def _glob(pattern: bytes) -> bytes:
    """Translate a glob to a regular expression. Raises ValueError if it is malformed."""
    regex = b""
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"*":
            end = at + len(pattern[at:]) - len(pattern[at:].lstrip(b"*"))
            whole = pattern[at - 1 : at] in (b"", b"/") and pattern[end : end + 1] in (b"", b"/")
            if end - at < 2 or not whole:
                regex += b"[^/]*"
            elif end < len(pattern):  # **/ is any number of folders, none too
                regex += b"(?:.*/)?"
                end += 1
            else:
                regex += b".*"
            at = end
        elif char == b"?":
            regex += b"[^/]"
            at += 1
        elif char == b"[":
            members, at = _bracket(pattern, at + 1)
            regex += b"[%s]" % b"".join(b"\\x%02x" % member for member in members)
        else:
            at += char == b"\\"
            if at == len(pattern):
                raise ValueError("a backslash with nothing behind it")
            regex += re.escape(pattern[at : at + 1])
            at += 1
    return regex


def _bracket(pattern: bytes, at: int) -> tuple[list[int], int]:
    """Return the bytes that the bracket expression behind `[` stands for, and where it ends.

    Raises ValueError if it does not end, or stands for nothing.
    """
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before: int | None = None  # what a range would start at
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        if named := re.compile(rb"\[:([^\]]*):\]").match(pattern, at):
            belongs = _POSIX_CLASS.get(named[1])
            if belongs is None:
                raise ValueError("an unknown class of characters")
            members.update(code for code in range(128) if belongs(chr(code)))
            before, at = None, named.end()
        elif before is not None and re.compile(rb"-[^\]]", re.DOTALL).match(pattern, at):
            last, at = _member(pattern, at + 1)
            members.update(range(before, last + 1))
            before = None
        else:
            before, at = _member(pattern, at)
            members.add(before)
    members = set(range(256)) - members if negated else members
    members.discard(ord("/"))
    if not members:
        raise ValueError("a bracket expression that nothing matches")
    return sorted(members), at + 1


def _member(pattern: bytes, at: int) -> tuple[int, int]:
    """Return the byte at `at`, escaped or not, and where the next one is."""
    at += pattern[at : at + 1] == b"\\"
    if at >= len(pattern):
        raise ValueError("a bracket expression without an end")
    return pattern[at], at + 1
