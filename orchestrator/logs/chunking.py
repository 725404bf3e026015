"""Collect whole lines from chunks that may be cut anywhere; lines that are too long are split."""

from __future__ import annotations

from orchestrator.logs.stream import Stream

MAX_LINE_BYTES = 16 << 20
"""How much of one line is held in memory."""


def split_overlong(data: bytes, limit: int, *, ends: tuple[bytes, ...] = (b"\n",)) -> list[bytes]:
    """Return `data` in pieces, split wherever more than `limit` bytes stand between two `ends`.

    All pieces but the last stop within a line, `limit` bytes after its start, or up to three bytes
    earlier so that no UTF-8 character is divided; the same lines give the same pieces, however they
    arrive. Lines are not visited one by one, so the usual case of one piece is fast.
    """
    pieces = []
    piece = line = 0  # where each starts
    while len(data) - line > limit:
        end = max(data.rfind(mark, line, line + limit + 1) for mark in ends)
        if end >= 0:
            line = end + 1
        else:
            line = _character_start(data, line + limit)
            pieces.append(data[piece:line])
            piece = line
    pieces.append(data[piece:])
    return pieces


def _character_start(data: bytes, index: int) -> int:
    """Return where the character of the byte at `index` starts; `index` if it is not UTF-8."""
    for start in range(index, index - 4, -1):
        if data[start] & 0xC0 != 0x80:
            return start
    return index


class LineBuffer:
    """Holds the unfinished line of each stream, up to `limit` bytes."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._partials: dict[Stream, tuple[bytearray, float]] = {}

    def feed(self, stream: Stream, chunk: bytes, t: float) -> list[bytes]:
        """Return what `chunk`, which arrived at `t`, completes.

        The last part ends with a newline; parts before it stop within a line that was too long.
        """
        data = self._partials.pop(stream, (bytearray(), t))[0]
        data += chunk
        if b"\n" not in chunk and len(data) <= self._limit:
            if data:
                self._partials[stream] = (data, t)
            return []
        *parts, last = split_overlong(bytes(data), self._limit)
        end = last.rfind(b"\n") + 1
        if end < len(last):
            self._partials[stream] = (bytearray(last[end:]), t)
        return [*parts, last[:end]] if end else parts

    def close(self) -> list[tuple[Stream, bytes, float]]:
        """Return the unfinished lines, each with the time of its latest chunk, and forget them."""
        partials, self._partials = self._partials, {}
        return [(stream, bytes(data), t) for stream, (data, t) in partials.items()]
