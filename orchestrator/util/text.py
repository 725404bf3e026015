"""Text for messages: make remote text safe, count things, suggest words, shorten lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_USER = re.compile(r"[\w.][\w.+@\\-]*\$?")
_MAX_QUOTE = 60


def user_name(text: str) -> str:
    """Return `text` if it is valid as a user name in configuration files, else raise ValueError."""
    if len(text) > 256 or not _USER.fullmatch(text):
        raise ValueError(f"not the name of a user: {text!r:.80}")
    return text


def printable(text: str | bytes, limit: int = 200) -> str:
    """Return `text` as one line without control characters, at most `limit` characters long."""
    if isinstance(text, bytes):
        text = text[: 8 * limit].decode("utf-8", "replace")
    # str.isprintable is false for C0, C1, newlines, surrogates and bidirectional controls.
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def printable_lines(text: str) -> str:
    """Return `text` without control characters, except the ends of its lines."""
    lines = text.split("\n")
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


def escaped(text: str) -> str:
    """Return `text` with backslash escapes for everything that a terminal could interpret."""
    return text if text.isprintable() else repr(text)[1:-1]


def quoted(text: str) -> str:
    """Return `text` in quotes, escaped, and cut to 60 characters."""
    return repr(text if len(text) <= _MAX_QUOTE else text[: _MAX_QUOTE - 1] + "…")


def one_line(text: str) -> str:
    """Return `text` as one line that is safe for a terminal."""
    return escaped(" ".join(text.split()))


def word_set(words: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(words.split())


def first_line(text: str) -> str:
    """Return the first line of `text`."""
    return text.split("\n", 1)[0]


def counted(number: int, thing: str) -> str:
    """Return `3 nodes`, `1 node`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def first_few(words: Sequence[str], most: int = 3, comma: str = ", ") -> str:
    """Return the first few words and the number of the rest: `a, b, c and 2 more`."""
    left = len(words) - most
    return comma.join(words[:most]) + (f" and {left:,} more" if left > 0 else "")


def format_size(number: float) -> str:
    """Return a number of bytes as text: `12.3 MB`."""
    if number < 1000:
        return f"{number:.0f} B"
    if number < 1_000_000:
        return f"{number / 1000:.1f} kB"
    return f"{number / 1e6:.1f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """Return the valid word closest to `word`, ignoring case; None if none is close."""
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in valid}
    matches = get_close_matches(word[:_MAX_QUOTE].lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else None
