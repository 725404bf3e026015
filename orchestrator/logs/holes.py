"""Holes in log files: long runs of zeros that take up no disk space.

A script that writes far beyond the end of its log makes one of any length, usually by accident. It is
shown as one line instead of gigabytes of zeros.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from orchestrator.util.text import format_size

MIN_HOLE = 256 * 1024
"""A shorter hole is read like data."""

_BLOCK = 128 * 1024  # bytes: no common file system has larger ones
# Linux and macOS have both, with different values.
_SEEK_DATA: int | None = getattr(os, "SEEK_DATA", None)
_SEEK_HOLE: int | None = getattr(os, "SEEK_HOLE", None)


def extents(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, whether it is a hole) of each part of a file between two offsets, in order.

    Zeros next to a hole are part of it, since a file system stores whole blocks.
    """
    position = start
    while position < end:
        hole, data = _next_hole(descriptor, position, end)
        if hole > position:
            yield position, hole, False
        if data > hole:
            yield hole, data, True
        position = data


def next_data(descriptor: int, offset: int, end: int) -> int:
    """Return where the next data is; `offset` if the file system cannot tell."""
    if _SEEK_DATA is None:
        return offset
    try:
        return min(end, os.lseek(descriptor, offset, _SEEK_DATA))
    except OSError as error:
        return end if error.errno == errno.ENXIO else offset


def hole_notice(length: int) -> bytes:
    """Return the line that is shown for a hole of `length` bytes."""
    return f"[{format_size(length)} of zeros left out: a hole in the file]\n".encode()


def disk_usage(status: os.stat_result) -> int:
    """Return how many bytes a file takes up on the disk, which holes do not."""
    return min(status.st_size, status.st_blocks * 512)


def _next_hole(descriptor: int, position: int, end: int) -> tuple[int, int]:
    """Return the start and end of the first long hole after `position`; (end, end) if there is none."""
    hole = position
    while hole < end:
        data = next_data(descriptor, hole, end)
        if data - hole >= MIN_HOLE:
            return _zeros_before(descriptor, position, hole), _zeros_after(descriptor, data, end)
        if data >= end:
            break
        hole = _hole_from(descriptor, data, end)
    return end, end


def _hole_from(descriptor: int, offset: int, end: int) -> int:
    """Return where the next hole is; `end` if there is none, or the file system cannot tell."""
    if _SEEK_HOLE is None:
        return end
    try:
        return min(end, os.lseek(descriptor, offset, _SEEK_HOLE))
    except OSError:
        return end


def _zeros_before(descriptor: int, start: int, hole: int) -> int:
    before = os.pread(descriptor, min(_BLOCK, hole - start), max(start, hole - _BLOCK))
    return hole - len(before) + len(before.rstrip(b"\0"))


def _zeros_after(descriptor: int, data: int, end: int) -> int:
    after = os.pread(descriptor, min(_BLOCK, end - data), data)
    return data + len(after) - len(after.lstrip(b"\0"))
