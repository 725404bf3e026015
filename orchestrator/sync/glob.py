"""Match globs as git's wildmatch does, in bounded time for any glob and any name.

A glob becomes a regular expression that does not backtrack beyond a part that has matched. This is exact:
if a part can match at several positions, the leftmost leaves the most text to the parts that follow,
because

- the text between two `*` of one name has a fixed length;
- a match between two `**` always has the same number of `/`, and ends with one.

Names are bytes, as in git: `?` is one byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import pairwise

SPECIAL = re.compile(rb"[*?\[\\]")
"""Characters with a special meaning in a glob."""

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
_STARS = re.compile(rb"\*++")
_NAMED_CLASS = re.compile(rb"\[:([^\]]*+)(?<=:)\]")
_RANGE = re.compile(rb"-[^\]]", re.DOTALL)


class _Wild(Enum):
    """A wildcard of any length; the value is its regular expression."""

    STAR = b"[^/]*"
    ANY = b".*"
    """`**`: any text, with folders."""
    FOLDERS = b"(?:[^/]*+/)*?"
    """`**/`: any number of folders, or none."""


_Token = bytes | _Wild  # bytes: the regular expression of one byte


def translate(glob: bytes) -> re.Pattern[bytes]:
    """Compile a glob for `fullmatch`. Raises ValueError for a malformed one, which matches nothing."""
    tokens = list(_tokens(glob))
    starts = [at for at, token in enumerate(tokens) if token in (_Wild.ANY, _Wild.FOLDERS)]
    regex = b"".join(_segments(tokens[: starts[0] if starts else None]))
    for start, end in pairwise([*starts, len(tokens)]):
        wild = tokens[start]
        assert isinstance(wild, _Wild)
        block = b"".join(_segments(tokens[start + 1 : end]))
        if end == len(tokens):
            regex += wild.value + block
        else:
            lazy = b".*?" if wild is _Wild.ANY else wild.value
            regex += b"(?>%s%s)" % (lazy, block)
    return re.compile(regex, re.DOTALL)


def _segments(block: list[_Token]) -> Iterator[bytes]:
    """Yield the parts of a block's regular expression: only the last `*` of a name may backtrack."""
    pieces: list[bytes] = [b""]
    for token in [*block, b"/"]:
        if token is _Wild.STAR:
            pieces.append(b"")
            continue
        assert isinstance(token, bytes)
        if token != b"/":
            pieces[-1] += token
            continue
        first, *others = pieces
        yield first
        for piece in others[:-1]:
            yield b"(?>[^/]*?%s)" % piece
        if others:
            yield _Wild.STAR.value + others[-1]
        pieces = [b"/"]


def _tokens(glob: bytes) -> Iterator[_Token]:
    at = 0
    while at < len(glob):
        char = glob[at : at + 1]
        if char == b"*":
            stars = _STARS.match(glob, at)
            assert stars is not None
            end = stars.end()
            is_whole = glob[at - 1 : at] in (b"", b"/") and (
                glob[end : end + 1] in (b"", b"/") or glob[end : end + 2] == b"\\/"
            )
            if end - at < 2 or not is_whole:
                yield _Wild.STAR
            elif glob[end : end + 1] == b"/":
                yield _Wild.FOLDERS
                end += 1
            else:
                yield _Wild.ANY
            at = end
        elif char == b"?":
            yield b"[^/]"
            at += 1
        elif char == b"[":
            members, at = _bracket(glob, at + 1)
            yield b"[%s]" % b"".join(b"\\x%02x" % member for member in members)
        else:
            at += char == b"\\"
            if at == len(glob):
                raise ValueError("a trailing backslash")
            yield re.escape(glob[at : at + 1])
            at += 1


def _bracket(glob: bytes, at: int) -> tuple[list[int], int]:
    """Return the bytes that match the bracket expression after `[`, and where it ends.

    Raises ValueError if it does not end, or matches nothing.
    """
    negated = glob[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before: int | None = None  # the start of a range, if one follows
    first = True
    while first or glob[at : at + 1] != b"]":
        first = False
        if named := _NAMED_CLASS.match(glob, at):
            belongs = _POSIX_CLASS.get(named[1][:-1])
            if belongs is None:
                raise ValueError("an unknown character class")
            members.update(code for code in range(128) if belongs(chr(code)))
            before, at = None, named.end()
        elif before is not None and _RANGE.match(glob, at):
            last, at = _member(glob, at + 1)
            members.update(range(before, last + 1))
            before = None
        else:
            before, at = _member(glob, at)
            members.add(before)
    members = set(range(256)) - members if negated else members
    members.discard(ord("/"))
    if not members:
        raise ValueError("a bracket expression that matches nothing")
    return sorted(members), at + 1


def _member(glob: bytes, at: int) -> tuple[int, int]:
    """Return the byte at `at`, which may be escaped, and where the next one is."""
    at += glob[at : at + 1] == b"\\"
    if at >= len(glob):
        raise ValueError("a bracket expression without an end")
    return glob[at], at + 1
