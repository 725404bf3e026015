"""Text for one line of a message: what a remote machine said made harmless, counts, lists cut short."""

from __future__ import annotations

import re
from collections.abc import Sequence

_USER = re.compile(r"[\w.][\w.+@\\-]*\$?")


def user_name(said: str) -> str:
    """Return the name of a user, that files of settings take for one. Raises ValueError for none."""
    if len(said) > 256 or not _USER.fullmatch(said):
        raise ValueError(f"not the name of a user: {said!r:.80}")
    return said


def printable(said: str | bytes, limit: int = 200) -> str:
    """Return `said` as one line without control characters, at most `limit` characters long."""
    if isinstance(said, bytes):
        said = said[: 8 * limit].decode("utf-8", "replace")
    # str.isprintable is false for C0, C1, newlines, surrogates and bidirectional controls alike.
    line = " ".join("".join(c if c.isprintable() else " " for c in said[: 8 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def one_line(text: str) -> str:
    """Return `text` as one line that a terminal only shows."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Return `text` with what a terminal could obey, or would not show, made visible: `^[`, `<U+202E>`."""
    return text if text.isprintable() else "".join(map(_shown, text))


def first_line(text: str) -> str:
    """Return the first line of `text`."""
    return text.split("\n", 1)[0]


def counted(number: int, thing: str) -> str:
    """Return `3 nodes`, `1 node`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def some(words: Sequence[str], most: int = 3, comma: str = ", ") -> str:
    """Return the first of some words, and how many are left: `a, b, c and 2 more`."""
    left = len(words) - most
    return comma.join(words[:most]) + (f" and {left:,} more" if left > 0 else "")


def format_size(number: float) -> str:
    """Return a number of bytes as text: `12.3 MB`."""
    if number < 1000:
        return f"{number:.0f} B"
    if number < 1_000_000:
        return f"{number / 1000:.1f} kB"
    return f"{number / 1e6:.1f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"<U+{code:04X}>"
