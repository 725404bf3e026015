"""Turn chunks of many streams into prefixed lines, a whole chunk at a time.

The common chunk (no carriage return, no overlong line, no control character) costs a few searches and
one `bytes.replace` at C speed; there is no loop over lines.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from orchestrator.logs.chunking import MAX_LINE_BYTES, split_overlong
from orchestrator.logs.prefix import timestamp
from orchestrator.logs.sanitize import sanitize
from orchestrator.logs.stream import Stream

MAX_TERMINAL_LINE = 64 * 1024
"""How many bytes of one line a terminal gets."""
MARK = "…".encode()
"""Marks where a line was cut: at the end of one part and at the start of the next."""
_IDLE_DELAY = 0.5  # seconds
_PROGRESS_INTERVAL = 1.0
# In a pipe, an unfinished line is shown again after this share of its age, or this many seconds.
_PIPE_SHARE = 0.1
_MAX_PIPE_INTERVAL = 60.0
_MAX_GLIMPSE = 4096  # how many bytes at the end of an unfinished line are shown in a pipe

# What a terminal overwrites: all of a line up to its last \r that is followed by something.
_OVERWRITTEN = re.compile(rb"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)
_SEAM = MARK + b"\n" + MARK


class Lines(Protocol):
    """What turns chunks of streams into text to show: TextLines, JsonLines, FoldedLines."""

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
    """What can still be shown; ends with one \\r if what that means is still open."""
    t: float = 0.0  # when its latest bytes arrived, seconds since the epoch
    progress: bool = False  # it had a \r
    continues: bool = False  # what was before `text` was shown as a line
    shown: bytes | None = None  # what a flush has shown of it
    is_done: bool = False  # nothing more is to be shown if it ends as `shown`
    shown_at: float = float("-inf")
    begun_at: float | None = None  # the first flush that found it
    idle_since: float | None = None  # the first flush that found it as it is

    def grow(self, rest: bytes, t: float) -> None:
        """Add what arrived at `t`, without a newline."""
        is_open = self.text.endswith(b"\r")
        self.text += rest
        self.t, self.idle_since = t, None
        if is_open or b"\r" in rest:
            self.progress = True
            text = _last_state(self.text)
            self.continues = self.continues and text == self.text
            self.text = text


class TextLines:
    """Prefixes lines of many streams; what is returned always ends with a whole line.

    `prefix` gives the bytes before each line of a stream; `timestamps` puts the time of the chunk
    that completed the line before that. The result does not depend on how a stream is cut into chunks:

    - A line is shown when its newline arrives. `\\r\\n` is a newline. A line with another `\\r` is
      shown as a terminal would leave it: the text after the last `\\r` that is followed by something.
    - At most `max_line` bytes of a line are held back for each stream (None: 64 KiB for a terminal,
      16 MiB for a pipe). A longer line is shown in pieces of that length (or up to three bytes less, so
      that no character is divided), each a line of its own, with a `…` where it was cut.
    - Lines are sanitized in each `mode`: a terminal may read from a pipe.
    - `flush` shows unfinished lines as well. On a "terminal" the rest of such a line is a line of its
      own that starts with `…`. In a "pipe" the whole line is shown again when it is complete.
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
        self._max_line = max_line or (MAX_TERMINAL_LINE if self._terminal else MAX_LINE_BYTES)
        self._prefixes: dict[Stream, bytes] = {}
        self._partials: dict[Stream, _Partial] = {}

    def feed(self, stream: Stream, chunk: bytes, t: float = 0.0) -> bytes:
        """Return the lines that `chunk`, which arrived at `t` (seconds since the epoch), completes."""
        partial = self._partials.get(stream)
        held = 0 if partial is None else len(partial.text)
        if b"\n" not in chunk and held + len(chunk) <= self._max_line:
            self._hold(stream, partial, chunk, t)
            return b""
        before = self._partials.pop(stream, None) or _Partial()
        data = bytes(before.text) + chunk if held else chunk
        *broken, last = split_overlong(data, self._max_line, ends=(b"\n", b"\r"))
        end = last.rfind(b"\n")
        if end >= 0:
            self._hold(stream, None, last[end + 1 :], t)
            lines = _SEAM.join([*broken, last[:end]])
        elif broken:
            self._hold(stream, _Partial(continues=True), last, t)
            lines = _SEAM.join(broken) + MARK
        else:
            self._hold(stream, before, chunk, t)
            return b""
        first, newline, others = lines.partition(b"\n")
        continues = before.continues
        if b"\r" in first:
            seen = _OVERWRITTEN.sub(b"", first)
            continues = continues and seen == first
            first = seen.replace(b"\r", b"")
        if before.is_done and first == before.shown:
            if not newline:
                return b""
            first = newline = b""
        elif continues:
            first = MARK + first
        if b"\r" in others:
            others = _OVERWRITTEN.sub(b"", others).replace(b"\r", b"")
        return self._shown(stream, b"".join((first, newline, others)), t)

    @property
    def waiting(self) -> bool:
        """Whether something is held back that a later `flush` may show."""
        return any(map(_news, self._partials.values()))

    def flush(self, now: float) -> bytes:
        """Return what is due of unfinished lines: a prompt, a progress bar.

        `now` is a monotonic clock in seconds; call this several times a second while `waiting`. On a
        terminal, a line that has not grown for half a second is shown as it is, and a progress line at
        most once a second. In a pipe, a line is shown after a second, and again if it has changed when a
        tenth of its age has passed (at least a second, at most a minute), so that a file is not flooded;
        text that may continue ends with `…` there.
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
        """Return everything still held back, as if each stream ended with a newline."""
        shown = []
        for stream, partial in self._partials.items():
            text = bytes(partial.text.removesuffix(b"\r"))
            if text and not (partial.is_done and text == partial.shown):
                shown.append(self._shown(stream, MARK * partial.continues + text, partial.t))
        self._partials.clear()
        return b"".join(shown)

    def _due(self, partial: _Partial, text: bytes, now: float) -> bytes:
        """Return what to show now of an unfinished line that reads `text`, which was not shown yet."""
        if partial.begun_at is None:
            partial.begun_at = now
        if not self._terminal:
            pause = max(_PROGRESS_INTERVAL, _PIPE_SHARE * (now - partial.begun_at))
            if now - max(partial.shown_at, partial.begun_at) < min(pause, _MAX_PIPE_INTERVAL):
                return b""
            glimpse = _last_characters(text, _MAX_GLIMPSE)
            is_whole = len(glimpse) == len(text) and len(partial.text) <= MAX_TERMINAL_LINE
            is_cut = partial.continues or not is_whole
            partial.shown, partial.shown_at = text, now
            partial.is_done = partial.progress and not is_cut
            return MARK * is_cut + glimpse + MARK * (not partial.progress)
        if partial.progress:
            if now - partial.shown_at < _PROGRESS_INTERVAL:
                return b""
            partial.shown, partial.shown_at, partial.is_done = text, now, True
            return MARK * partial.continues + text
        if partial.idle_since is None:
            partial.idle_since = now
        if now - partial.idle_since < _IDLE_DELAY:
            return b""
        del partial.text[: len(text)]
        text = MARK * partial.continues + text
        partial.shown, partial.is_done, partial.continues = b"", True, True
        return text

    def _hold(self, stream: Stream, partial: _Partial | None, rest: bytes, t: float) -> None:
        """Hold the unfinished line `partial` (None: a new one) with `rest` added."""
        if partial is None:
            if not rest:
                return
            partial = _Partial()
        partial.grow(rest, t)
        self._partials[stream] = partial

    def _shown(self, stream: Stream, lines: bytes, t: float) -> bytes:
        """Return `lines`, without their last newline, as they are shown."""
        prefix = self._prefixes.get(stream)
        if prefix is None:
            prefix = self._prefixes[stream] = self._make_prefix(stream)
        return self.prefixed(prefix, t, sanitize(lines))

    def prefixed(self, prefix: bytes, t: float, lines: bytes) -> bytes:
        """Return sanitized `lines`, without their last newline, each behind `prefix`."""
        if self._timestamps:
            prefix = timestamp(t) + b" " + prefix
        if self._paint is not None:
            lines = self._paint(lines)
        return b"".join((prefix, lines.replace(b"\n", b"\n" + prefix), b"\n"))


def _last_state(rest: bytearray) -> bytearray:
    """Return what can still be shown of an unfinished line; several \\r at its end become one."""
    text = rest.rstrip(b"\r")
    return text[text.rfind(b"\r") + 1 :] + rest[len(text) : len(text) + 1]


def _news(partial: _Partial) -> bytes:
    """Return the end of an unfinished line if it was not shown yet and is not blank."""
    text = bytes(partial.text[-MAX_TERMINAL_LINE:]).removesuffix(b"\r")
    return text if text != partial.shown and text.strip() else b""


def _whole_characters(text: bytes) -> bytes:
    """Return `text` without an incomplete multi-byte character at its end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(text)
    begun = decoder.getstate()[0]
    return text[: len(text) - len(begun)]


def _last_characters(text: bytes, limit: int) -> bytes:
    """Return the last characters of `text`, at most `limit` bytes."""
    if len(text) <= limit:
        return text
    start = len(text) - limit
    while start < len(text) - limit + 3 and text[start] & 0xC0 == 0x80:
        start += 1
    return text[start:]
