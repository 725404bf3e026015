"""Phrases of which many messages are made."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, thing: str) -> str:
    """Return `3 ranks`, `1 rank`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def some(words: Sequence[str], most: int = 3, comma: str = ", ") -> str:
    """Return the first of some words, and how many are left: `a, b, c and 2 more`."""
    left = len(words) - most
    return comma.join(words[:most]) + (f" and {left} more" if left > 0 else "")
