"""Turn chunks of many streams into JSON lines, one object for each line of output."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from orchestrator.logs.chunking import LONGEST, cut
from orchestrator.logs.stream import Stream

# ASCII only, so no control of the text (C1, bidirectional) reaches a terminal as such.
_encode = json.JSONEncoder(ensure_ascii=True).encode


@dataclass
class _Partial:
    text: bytearray = field(default_factory=bytearray)
    t: float = 0.0


class JsonLines:
    """Makes JSON lines of many streams; fed like TextLines.

    `{"t": 1.5, "rank": 3, "local_rank": 1, "node": "node1", "stream": "stdout", "text": "..."}`

    `t` is when the chunk came that completed the line (seconds since the epoch); `rank` is null for
    the launcher. `text` is the line without its `\\n` or `\\r\\n`; a byte that is not UTF-8 is
    written `\\xNN`, a `\\r` within the line stays. A line of more than
    `max_line` bytes comes in pieces of that length (up to three bytes fewer, so as not to divide a
    character), all but the last of them with `"partial": true`.
    """

    def __init__(self, *, max_line: int = LONGEST) -> None:
        self._max_line = max_line
        self._heads: dict[Stream, str] = {}
        self._partials: dict[Stream, _Partial] = {}

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        """The lines that `chunk`, which came at `t`, completes."""
        partial = self._partials.setdefault(stream, _Partial())
        partial.t = t
        partial.text += chunk
        if b"\n" not in chunk and len(partial.text) <= self._max_line:
            return b""
        start = self._start(stream, t)
        *pieces, last = cut(bytes(partial.text), self._max_line)
        shown = []
        for piece in pieces:
            end = piece.rfind(b"\n") + 1
            shown += [_lines(start, piece[:end]), _piece(start, piece[end:])]
        end = last.rfind(b"\n") + 1
        shown.append(_lines(start, last[:end]))
        rest = last[end:]
        if rest:
            partial.text = bytearray(rest)
        else:
            del self._partials[stream]
        return "".join(shown).encode()

    @property
    def waiting(self) -> bool:
        """Nothing that is held back is shown before its line is whole."""
        return False

    def flush(self, now: float) -> bytes:
        """Nothing: a line is written when it is complete, whatever the time."""
        return b""

    def close(self) -> bytes:
        """Everything still held back, as if each stream had ended with a newline."""
        shown = [
            _lines(self._start(stream, partial.t), bytes(partial.text) + b"\n")
            for stream, partial in self._partials.items()
            if partial.text
        ]
        self._partials.clear()
        return "".join(shown).encode()

    def _start(self, stream: Stream, t: float) -> str:
        """An object up to its text."""
        head = self._heads.get(stream)
        if head is None:
            head = self._heads[stream] = _head(stream)
        return f'{{"t": {t!r}{head}'


def _head(stream: Stream) -> str:
    """What all objects of a stream have in common between time and text."""
    return (
        f', "rank": {_encode(stream.rank)}, "local_rank": {_encode(stream.local_rank)}'
        f', "node": {_encode(stream.node)}, "stream": {_encode(stream.channel)}, "text": '
    )


def _lines(start: str, lines: bytes) -> str:
    """Objects of whole lines, the last one's newline included."""
    if not lines:
        return ""
    texts = _decode(lines.replace(b"\r\n", b"\n")).split("\n")[:-1]
    return start + f"}}\n{start}".join(map(_encode, texts)) + "}\n"


def _piece(start: str, text: bytes) -> str:
    """The object of a piece of a line that goes on."""
    return f'{start}{_encode(_decode(text))}, "partial": true}}\n'


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
