"""Cut lines that are too long to hold, always at the same places however their bytes arrive."""

from __future__ import annotations

LONGEST = 16 << 20
"""Bytes of one line that are held in memory at most, for whoever must have whole lines."""


def cut(data: bytes, limit: int, *, ends: tuple[bytes, ...] = (b"\n",)) -> list[bytes]:
    """`data` in pieces, divided wherever more than `limit` bytes stand between two `ends`.

    Every piece but the last breaks off within a line, `limit` bytes after its beginning, or up to
    three fewer so as not to divide a UTF-8 character. Mostly there is one piece, `data` itself:
    that is found by leaps as long as a line may be, not by visiting every line.
    """
    pieces = []
    begin = start = 0  # of the piece, of the line
    while len(data) - start > limit:
        end = max(data.rfind(mark, start, start + limit + 1) for mark in ends)
        if end >= 0:
            start = end + 1
        else:
            start = _character_start(data, start + limit)
            pieces.append(data[begin:start])
            begin = start
    pieces.append(data[begin:])
    return pieces


def _character_start(data: bytes, index: int) -> int:
    """Where the character begins that the byte at `index` is part of; `index` if nothing fits."""
    for start in range(index, index - 4, -1):
        if data[start] & 0xC0 != 0x80:
            return start
    return index
