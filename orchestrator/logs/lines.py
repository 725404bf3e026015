"""Turn chunks of many streams into prefixed lines, a whole chunk at a time.

The common chunk (no carriage return, no overlong line, no control) costs a few searches and one
`bytes.replace` at C speed; there is no loop over lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.logs.harmless import harmless
from orchestrator.logs.pieces import cut
from orchestrator.logs.prefix import timestamp
from orchestrator.logs.stream import Stream

MAX_LINE = 64 * 1024
IDLE_SECONDS = 0.5
PROGRESS_SECONDS = 1.0

# What a terminal writes over: all of a line up to its last \r that is followed by something.
_OVERWRITTEN = re.compile(rb"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)


class Lines(Protocol):
    """Turns chunks of streams into what is shown (TextLines, JsonLines, FoldedLines)."""

    @property
    def waiting(self) -> bool:
        """Whether `flush` may have something to show."""

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes: ...
    def flush(self, now: float) -> bytes: ...
    def close(self) -> bytes: ...


@dataclass
class _Partial:
    """The unfinished last line of one stream."""

    text: bytes = b""  # what is left of it; ends with one \r if its meaning is still open
    t: float = 0.0  # when its last bytes came, seconds since the epoch
    progress: bool = False  # it had a \r
    shown: bytes | None = None  # if it ends as just this, it was already shown
    shown_at: float = float("-inf")
    idle_since: float | None = None  # the first flush that found it as it is


class TextLines:
    """Prefixes lines of many streams; what is returned always ends with a whole line.

    `prefix` gives the bytes before each line of a stream; `timestamps` puts the time of the chunk
    that completed a line before that. The rules, alike for every split of a stream into chunks:

    - A line is shown when its newline comes. `\\r\\n` is a newline. Of a line with other `\\r`,
      what a terminal would be left with is shown: the text after the last `\\r` that is followed
      by something.
    - At most `max_line` bytes of a line are held back for each stream: a longer line is shown in
      pieces of that length (up to three bytes fewer, so as not to divide a character), each a line
      of its own.
    - `mode` "pipe": bytes pass as they are. "terminal": they are made `harmless`.
    - `paint` may add colour to lines before they get their prefix.
    """

    def __init__(
        self,
        prefix: Callable[[Stream], bytes],
        mode: Literal["terminal", "pipe"],
        *,
        timestamps: bool = False,
        max_line: int = MAX_LINE,
        paint: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._make_prefix = prefix
        self._paint = paint
        self._terminal = mode == "terminal"
        self._timestamps = timestamps
        self._max_line = max_line
        self._prefixes: dict[Stream, bytes] = {}
        self._partials: dict[Stream, _Partial] = {}

    def feed(self, stream: Stream, chunk: bytes, t: float = 0.0) -> bytes:
        """The lines that `chunk`, which came at `t` (seconds since the epoch), completes."""
        before = self._partials.pop(stream, None)
        data = before.text + chunk if before else chunk
        data = b"\n".join(cut(data, self._max_line, ends=(b"\n", b"\r")))
        end = data.rfind(b"\n")
        self._hold(stream, before if end < 0 else None, data[end + 1 :], t)
        if end < 0:
            return b""
        lines = data[:end]
        if b"\r" in lines:
            lines = _OVERWRITTEN.sub(b"", lines).replace(b"\r", b"")
        if before and before.shown is not None:
            first, newline, others = lines.partition(b"\n")
            if first == before.shown:
                if not newline:
                    return b""
                lines = others
        return self._shown(stream, lines, t)

    @property
    def waiting(self) -> bool:
        """Whether something is held back that a later `flush` may show."""
        return self._terminal and any(map(_news, self._partials.values()))

    def flush(self, now: float) -> bytes:
        """What a person at a terminal should see of unfinished lines; nothing for a pipe.

        `now` is a monotonic clock in seconds; call this several times a second while `waiting`.
        A line that has not grown for half a second (a prompt, say) is shown as it is, and goes on
        as a new line. A progress line is shown as it now is, at most once a second.
        """
        if not self._terminal:
            return b""
        shown = []
        for stream, partial in self._partials.items():
            text = _whole_characters(_news(partial))
            if not text:
                continue
            if partial.progress:
                if now - partial.shown_at < PROGRESS_SECONDS:
                    continue
                partial.shown, partial.shown_at = text, now
            else:
                if partial.idle_since is None:
                    partial.idle_since = now
                if now - partial.idle_since < IDLE_SECONDS:
                    continue
                partial.shown, partial.text = b"", partial.text[len(text) :]
            shown.append(self._shown(stream, text, partial.t))
        return b"".join(shown)

    def close(self) -> bytes:
        """Everything still held back, as if each stream had ended with a newline."""
        shown = []
        for stream, partial in self._partials.items():
            text = partial.text.removesuffix(b"\r")
            if text and text != partial.shown:
                shown.append(self._shown(stream, text, partial.t))
        self._partials.clear()
        return b"".join(shown)

    def _hold(self, stream: Stream, partial: _Partial | None, rest: bytes, t: float) -> None:
        """Keep the unfinished line `rest`, which `partial` (None: a new line) has grown to."""
        if partial is None:
            if not rest:
                return
            partial = _Partial()
        partial.text, partial.t, partial.idle_since = _last_state(rest), t, None
        partial.progress = partial.progress or b"\r" in rest
        self._partials[stream] = partial

    def _shown(self, stream: Stream, lines: bytes, t: float) -> bytes:
        """`lines`, without their last newline, as they are shown."""
        prefix = self._prefixes.get(stream)
        if prefix is None:
            prefix = self._prefixes[stream] = self._make_prefix(stream)
        return self.prefixed(prefix, t, harmless(lines) if self._terminal else lines)

    def prefixed(self, prefix: bytes, t: float, lines: bytes) -> bytes:
        """`lines`, without their last newline and harmless where need be, behind `prefix`."""
        if self._timestamps:
            prefix = timestamp(t) + b" " + prefix
        if self._paint is not None:
            lines = self._paint(lines)
        return b"".join((prefix, lines.replace(b"\n", b"\n" + prefix), b"\n"))


def _last_state(rest: bytes) -> bytes:
    """What of an unfinished line can still be shown; several \\r at its end count as one."""
    text = rest.rstrip(b"\r")
    return text[text.rfind(b"\r") + 1 :] + rest[len(text) : len(text) + 1]


def _news(partial: _Partial) -> bytes:
    """What of an unfinished line was not shown yet; nothing if it is blank."""
    text = partial.text.removesuffix(b"\r")
    return text if text != partial.shown and text.strip() else b""


def _whole_characters(text: bytes) -> bytes:
    """`text` without a multi-byte character that has only begun."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(text)
    begun = decoder.getstate()[0]
    return text[: len(text) - len(begun)]
