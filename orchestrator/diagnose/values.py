"""Check values from lines and files of other programs before they are used."""

from __future__ import annotations

MAX_RANK = 9_999_999
MAX_NAME = 253  # characters of a host's name

_MAX_TIME = 2.5e11  # the year 9892, as in the index of a run's logs: no clock gave a later time


def valid_rank(value: object) -> int | None:
    """Return `value` if it is a rank, else None."""
    return value if type(value) is int and 0 <= value <= MAX_RANK else None


def valid_time(value: object) -> float | None:
    """Return `value` if it is a time in seconds since the epoch, else None."""
    if type(value) not in (int, float):
        return None
    assert isinstance(value, (int, float))
    return float(value) if 0 <= value < _MAX_TIME else None  # also false for NaN


def valid_node(value: object) -> str | None:
    """Return `value` if it can name a node: a short printable word; else None."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        return None
    return value if value.isprintable() and " " not in value else None


def encodable(text: str) -> str:
    """Return `text` with `?` for lone surrogates, which JSON allows and UTF-8 does not."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
