"""Durations as text."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return `32 s`, `5 min 20 s`, `3 h 4 min`, `2 d 3 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def lifetime(seconds: float) -> str:
    """Return `0.42 s`, `5.3 s`, `5 min 20 s`."""
    if seconds < 60:
        return f"{max(0.0, seconds):.{2 if seconds < 1 else 1}f} s"
    return duration(seconds)


def age(seconds: float) -> str:
    """Return `32 s`, `5 min`, `3 h`, `2 d`."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
