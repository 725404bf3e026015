"""Turn chunks of many streams into prefixed lines, a whole chunk at a time.

The common chunk (no carriage return, no overlong line, no control) costs a few searches and one
`bytes.replace` at C speed; there is no loop over lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from orchestrator.logs.chunking import LONGEST, cut
from orchestrator.logs.prefix import timestamp
from orchestrator.logs.sanitize import sanitize
from orchestrator.logs.stream import Stream

MAX_LINE = 64 * 1024
"""Bytes that a terminal gets in one line."""
MARK = "…".encode()
"""Stands where a line was cut: at the end of the first part, and at the beginning of the next."""
IDLE_SECONDS = 0.5
PROGRESS_SECONDS = 1.0
# What was shown in a pipe of an unfinished line is at most so much of its age old, and so many seconds.
_PIPE_SHARE = 0.1
_PIPE_MOST_SECONDS = 60.0
_GLIMPSE = 4096  # bytes of a line that has no end yet: its last ones

# What a terminal writes over: all of a line up to its last \r that is followed by something.
_OVERWRITTEN = re.compile(rb"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)
_SEAM = MARK + b"\n" + MARK


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

    text: bytearray = field(default_factory=bytearray)
    """What is left of it; ends with one \\r if its meaning is still open."""
    t: float = 0.0  # when its last bytes came, seconds since the epoch
    progress: bool = False  # it had a \r
    goes_on: bool = False  # what was before `text` was shown as a line
    shown: bytes | None = None  # what a flush has shown of it
    is_done: bool = False  # if it ends as just that, nothing more is to be shown
    shown_at: float = float("-inf")
    begun_at: float | None = None  # the first flush that found it
    idle_since: float | None = None  # the first flush that found it as it is

    def grow(self, rest: bytes, t: float) -> None:
        """Add what came at `t`, without a newline."""
        is_open = self.text.endswith(b"\r")
        self.text += rest
        self.t, self.idle_since = t, None
        if is_open or b"\r" in rest:
            self.progress = True
            text = _last_state(self.text)
            self.goes_on = self.goes_on and text == self.text
            self.text = text


class TextLines:
    """Prefixes lines of many streams; what is returned always ends with a whole line.

    `prefix` gives the bytes before each line of a stream; `timestamps` puts the time of the chunk
    that completed a line before that. The rules, alike for every split of a stream into chunks:

    - A line is shown when its newline comes. `\\r\\n` is a newline. Of a line with other `\\r`,
      what a terminal would be left with is shown: the text after the last `\\r` that is followed
      by something.
    - At most `max_line` bytes of a line are held back for each stream (None: 64 KiB for a terminal,
      16 MiB for a pipe): a longer line is shown in pieces of that length (up to three bytes fewer, so
      as not to divide a character), each a line of its own, with a `…` where it was cut.
    - Lines are made `harmless`, in each `mode`: behind a pipe there may be a terminal.
    - `flush` shows unfinished lines as well. For a "terminal" the rest of such a line is a line of its
      own, which begins with `…`. In a "pipe" the whole line comes once more when it is complete.
    - `paint` may add colour to lines before they get their prefix.
    """

    def __init__(
        self,
        prefix: Callable[[Stream], bytes],
        mode: Literal["terminal", "pipe"],
        *,
        timestamps: bool = False,
        max_line: int | None = None,
        paint: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._make_prefix = prefix
        self._paint = paint
        self._terminal = mode == "terminal"
        self._timestamps = timestamps
        self._max_line = max_line or (MAX_LINE if self._terminal else LONGEST)
        self._prefixes: dict[Stream, bytes] = {}
        self._partials: dict[Stream, _Partial] = {}

    def feed(self, stream: Stream, chunk: bytes, t: float = 0.0) -> bytes:
        """The lines that `chunk`, which came at `t` (seconds since the epoch), completes."""
        partial = self._partials.get(stream)
        held = 0 if partial is None else len(partial.text)
        if b"\n" not in chunk and held + len(chunk) <= self._max_line:
            self._hold(stream, partial, chunk, t)
            return b""
        before = self._partials.pop(stream, None) or _Partial()
        data = bytes(before.text) + chunk if held else chunk
        *broken, last = cut(data, self._max_line, ends=(b"\n", b"\r"))
        end = last.rfind(b"\n")
        if end >= 0:
            self._hold(stream, None, last[end + 1 :], t)
            lines = _SEAM.join([*broken, last[:end]])
        elif broken:
            self._hold(stream, _Partial(goes_on=True), last, t)
            lines = _SEAM.join(broken) + MARK
        else:
            self._hold(stream, before, chunk, t)
            return b""
        first, newline, others = lines.partition(b"\n")
        goes_on = before.goes_on
        if b"\r" in first:
            seen = _OVERWRITTEN.sub(b"", first)
            goes_on = goes_on and seen == first
            first = seen.replace(b"\r", b"")
        if before.is_done and first == before.shown:
            if not newline:
                return b""
            first = newline = b""
        elif goes_on:
            first = MARK + first
        if b"\r" in others:
            others = _OVERWRITTEN.sub(b"", others).replace(b"\r", b"")
        return self._shown(stream, b"".join((first, newline, others)), t)

    @property
    def waiting(self) -> bool:
        """Whether something is held back that a later `flush` may show."""
        return any(map(_news, self._partials.values()))

    def flush(self, now: float) -> bytes:
        """What a person should see of unfinished lines: a prompt, a progress bar.

        `now` is a monotonic clock in seconds; call this several times a second while `waiting`. On a
        terminal, a line that has not grown for half a second is shown as it is, and a progress line as it
        now is, at most once a second. In a pipe, what a line is after a second is shown, and then again
        where it has changed when a tenth of its age has passed (a second at least, a minute at most), so
        that what stays in a file is no flood; text that may yet go on ends with `…` there.
        """
        shown = []
        for stream, partial in self._partials.items():
            text = _whole_characters(_news(partial))
            if not text or text == partial.shown:
                continue
            text = self._due(partial, text, now)
            if text:
                shown.append(self._shown(stream, text, partial.t))
        return b"".join(shown)

    def close(self) -> bytes:
        """Everything still held back, as if each stream had ended with a newline."""
        shown = []
        for stream, partial in self._partials.items():
            text = bytes(partial.text.removesuffix(b"\r"))
            if text and not (partial.is_done and text == partial.shown):
                shown.append(self._shown(stream, MARK * partial.goes_on + text, partial.t))
        self._partials.clear()
        return b"".join(shown)

    def _due(self, partial: _Partial, text: bytes, now: float) -> bytes:
        """What of an unfinished line, of which `text` was not shown yet, is to be shown now."""
        if partial.begun_at is None:
            partial.begun_at = now
        if not self._terminal:
            pause = max(PROGRESS_SECONDS, _PIPE_SHARE * (now - partial.begun_at))
            if now - max(partial.shown_at, partial.begun_at) < min(pause, _PIPE_MOST_SECONDS):
                return b""
            glimpse = _last_characters(text, _GLIMPSE)
            is_whole = len(glimpse) == len(text) and len(partial.text) <= MAX_LINE
            is_cut = partial.goes_on or not is_whole
            partial.shown, partial.shown_at = text, now
            partial.is_done = partial.progress and not is_cut
            return MARK * is_cut + glimpse + MARK * (not partial.progress)
        if partial.progress:
            if now - partial.shown_at < PROGRESS_SECONDS:
                return b""
            partial.shown, partial.shown_at, partial.is_done = text, now, True
            return MARK * partial.goes_on + text
        if partial.idle_since is None:
            partial.idle_since = now
        if now - partial.idle_since < IDLE_SECONDS:
            return b""
        del partial.text[: len(text)]
        text = MARK * partial.goes_on + text
        partial.shown, partial.is_done, partial.goes_on = b"", True, True
        return text

    def _hold(self, stream: Stream, partial: _Partial | None, rest: bytes, t: float) -> None:
        """Keep the unfinished line that `partial` (None: a new line) becomes with `rest`."""
        if partial is None:
            if not rest:
                return
            partial = _Partial()
        partial.grow(rest, t)
        self._partials[stream] = partial

    def _shown(self, stream: Stream, lines: bytes, t: float) -> bytes:
        """`lines`, without their last newline, as they are shown."""
        prefix = self._prefixes.get(stream)
        if prefix is None:
            prefix = self._prefixes[stream] = self._make_prefix(stream)
        return self.prefixed(prefix, t, sanitize(lines))

    def prefixed(self, prefix: bytes, t: float, lines: bytes) -> bytes:
        """`lines`, harmless and without their last newline, behind `prefix`."""
        if self._timestamps:
            prefix = timestamp(t) + b" " + prefix
        if self._paint is not None:
            lines = self._paint(lines)
        return b"".join((prefix, lines.replace(b"\n", b"\n" + prefix), b"\n"))


def _last_state(rest: bytearray) -> bytearray:
    """What of an unfinished line can still be shown; several \\r at its end count as one."""
    text = rest.rstrip(b"\r")
    return text[text.rfind(b"\r") + 1 :] + rest[len(text) : len(text) + 1]


def _news(partial: _Partial) -> bytes:
    """What of an unfinished line was not shown yet, if only its end; nothing if it is blank."""
    text = bytes(partial.text[-MAX_LINE:]).removesuffix(b"\r")
    return text if text != partial.shown and text.strip() else b""


def _whole_characters(text: bytes) -> bytes:
    """`text` without a multi-byte character that has only begun."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(text)
    begun = decoder.getstate()[0]
    return text[: len(text) - len(begun)]


def _last_characters(text: bytes, limit: int) -> bytes:
    """The last characters of `text`, at most `limit` bytes."""
    if len(text) <= limit:
        return text
    start = len(text) - limit
    while start < len(text) - limit + 3 and text[start] & 0xC0 == 0x80:
        start += 1
    return text[start:]
