"""Make what a remote machine said fit for one line of a message."""

from __future__ import annotations

import re

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
