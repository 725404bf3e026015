"""Turn chunks of many streams into JSON lines: one object per line of output."""

from __future__ import annotations

import json

from orchestrator.logs.chunking import MAX_LINE_BYTES, LineBuffer
from orchestrator.logs.stream import Stream

# ASCII only, so no control character of the text (C1, bidirectional) reaches a terminal as such.
_encode = json.JSONEncoder(ensure_ascii=True).encode


class JsonLines:
    """Makes JSON lines of many streams; fed like TextLines.

    `{"t": 1.5, "rank": 3, "local_rank": 1, "node": "node1", "stream": "stdout", "text": "..."}`

    `t` is when the chunk arrived that completed the line (seconds since the epoch); `rank` is null for
    the launcher. `text` is the line without its `\\n` or `\\r\\n`; a byte that is not UTF-8 is written
    `\\xNN`, and a `\\r` within the line stays. A line of more than `max_line` bytes is split into pieces
    of that length (or up to three bytes less, so that no character is divided); all but the last of
    them have `"partial": true`.
    """

    waiting = False
    """Whether `flush` may have something to show: nothing is shown before its line is whole."""

    def __init__(self, *, max_line: int = MAX_LINE_BYTES) -> None:
        self._buffer = LineBuffer(max_line)
        self._heads: dict[Stream, str] = {}

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        """Return the lines that `chunk`, which arrived at `t`, completes."""
        parts = self._buffer.feed(stream, chunk, t)
        return b"".join([self._objects(stream, part, t) for part in parts])

    def flush(self, now: float) -> bytes:
        """Return nothing: a line is written when it is complete, at any time."""
        return b""

    def close(self) -> bytes:
        """Return everything still held back, as if each stream ended with a newline."""
        rests = self._buffer.close()
        return b"".join([self._objects(stream, rest + b"\n", t) for stream, rest, t in rests])

    def _objects(self, stream: Stream, data: bytes, t: float) -> bytes:
        """Return the object of each line in `data`; what has no newline is a piece of a longer line."""
        start = f'{{"t": {t!r}{self._head(stream)}'
        text = data.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace")
        *lines, piece = map(_encode, text.split("\n"))
        shown = "".join([f"{start}{line}}}\n" for line in lines])
        if not data.endswith(b"\n"):
            shown += f'{start}{piece}, "partial": true}}\n'
        return shown.encode()

    def _head(self, stream: Stream) -> str:
        """Return what all objects of a stream have in common, between time and text."""
        if stream not in self._heads:
            self._heads[stream] = (
                f', "rank": {_encode(stream.rank)}, "local_rank": {_encode(stream.local_rank)}'
                f', "node": {_encode(stream.node)}, "stream": {_encode(stream.channel)}, "text": '
            )
        return self._heads[stream]
