"""What lines and files of other programs claim, typed and bounded before anything is made of it."""

from __future__ import annotations

MAX_RANK = 9_999_999
MAX_NAME = 253  # characters of a host's name

# The year 9892, as for the index of a run's logs: what is later is no time that a clock gave.
_END_OF_TIME = 2.5e11


def a_rank(value: object) -> int | None:
    """Return the rank that a value is; None for anything else."""
    return value if type(value) is int and 0 <= value <= MAX_RANK else None


def a_moment(value: object) -> float | None:
    """Return the seconds since the epoch that a number is; None for what is no time."""
    if type(value) not in (int, float):
        return None
    assert isinstance(value, (int, float))
    return float(value) if 0 <= value < _END_OF_TIME else None  # false for NaN, too


def a_name(value: object) -> str | None:
    """Return the name of a node that a text is: short, one word, nothing that a terminal obeys."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        return None
    return value if value.isprintable() and " " not in value else None


def encodable(text: str) -> str:
    """Return the text with `?` for each lone surrogate, which JSON can have and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
