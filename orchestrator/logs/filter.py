"""Filters before what shows lines: only those that match, only the last ones, matches highlighted."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Callable
from itertools import compress

from orchestrator.logs.chunking import MAX_LINE_BYTES, LineBuffer
from orchestrator.logs.lines import Lines
from orchestrator.logs.sanitize import SGR, without_colour
from orchestrator.logs.search import MAX_SEARCHED, Search
from orchestrator.logs.stream import Stream

_MAX_PATTERN = 1000
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_SGR_OR_TEXT = re.compile(f"({SGR.pattern})")

# Reverse video: it can be ended without touching the colours that the line has itself.
_ON, _OFF = "\x1b[7m", "\x1b[27m"


def parse_pattern(text: str) -> re.Pattern[str]:
    """Compile a regular expression in Python's syntax. Raises ValueError, which says what is wrong."""
    if len(text) > _MAX_PATTERN:
        raise ValueError(
            f"a regular expression of {len(text)} characters is too long; the limit is {_MAX_PATTERN}"
        )
    shown = repr(text[:60])
    try:
        with warnings.catch_warnings():
            # Python warns of what it may read differently in future, such as [[:alpha:]].
            warnings.simplefilter("error", FutureWarning)
            return re.compile(text)
    except FutureWarning as warning:
        reason = f"{str(warning)[:1].lower()}{str(warning)[1:]}"
        problem = f"is ambiguous: {reason} (Python has no [[:alpha:]])"
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        problem = f"is not a regular expression: {error.msg}{where}"
    except (OverflowError, RecursionError):
        raise ValueError(f"{shown} is too large for a regular expression") from None
    raise ValueError(f"{shown} {problem}; put \\ before a character that stands for itself")


class _Filter:
    """What passes lines on to `lines`."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    @property
    def waiting(self) -> bool:
        """Whether `flush` may have something to show."""
        return self._lines.waiting

    def flush(self, now: float) -> bytes:
        """Return what `lines` has to show by now."""
        return self._lines.flush(now)


class Grep(_Filter):
    """Passes the lines that match on to `lines`, whole and with their original bytes.

    A line is searched as it is seen: without colour, and as a terminal shows it after a `\\r`. A byte
    that is not UTF-8 is U+FFFD to the pattern. Only the first 16384 characters of a line are searched;
    a line of more than `max_line` bytes is passed in parts, and the first part decides. Methods raise
    SlowPattern if the pattern takes seconds for one line.
    """

    def __init__(
        self, pattern: re.Pattern[str], lines: Lines, *, max_line: int = MAX_LINE_BYTES
    ) -> None:
        super().__init__(lines)
        self._search = Search(pattern)
        self._buffer = LineBuffer(max_line)
        self._continued: dict[Stream, bool] = {}  # in a line of several parts: whether it matches

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        """Return what `lines` shows of the matching lines that `chunk` completes."""
        return self._pass_on(stream, self._buffer.feed(stream, chunk, t), t)

    def close(self) -> bytes:
        """Return everything still held back that matches, as if each stream ended with a newline."""
        shown = [self._pass_on(stream, [rest], t) for stream, rest, t in self._buffer.close()]
        self._continued.clear()
        return b"".join(shown) + self._lines.close()

    def _pass_on(self, stream: Stream, parts: list[bytes], t: float) -> bytes:
        if not parts:
            return b""
        with self._search.within_limits():
            matching = b"".join([self._matching(stream, part) for part in parts])
        return self._lines.feed(stream, matching, t) if matching else b""

    def _matching(self, stream: Stream, data: bytes) -> bytes:
        """Return the lines in `data` that match; the first may have begun, the last may continue."""
        decided = self._continued.pop(stream, None)
        matches = [
            self._search.finds(text) if number or decided is None else decided
            for number, text in enumerate(_searchable(data))
        ]
        if not data.endswith(b"\n"):
            self._continued[stream] = matches[-1]
        return b"".join(compress(_LINE.findall(data), matches))


class LastLines(_Filter):
    """Holds back all but the last `count` lines until `release`; from then on, passes all to `lines`.

    For the last lines that match: `Grep(pattern, LastLines(10, lines))`. It is fed whole lines.
    """

    def __init__(self, count: int, lines: Lines) -> None:
        super().__init__(lines)
        self._held: deque[tuple[Stream, bytes, float]] | None = deque(maxlen=count)

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        if self._held is None:
            return self._lines.feed(stream, chunk, t)
        self._held.extend((stream, line, t) for line in _LINE.findall(chunk))
        return b""

    def release(self) -> bytes:
        """Return the last lines as shown; from now on nothing is held back here."""
        held, self._held = self._held or (), None
        return b"".join([self._lines.feed(stream, line, t) for stream, line, t in held])

    def close(self) -> bytes:
        return self.release() + self._lines.close()


def painter(pattern: re.Pattern[str]) -> Callable[[bytes], bytes]:
    """Return a function that shows matches in lines in reverse video, for the `paint` of TextLines.

    The colours of a line stay, also within a match, and so do bytes that are not UTF-8. The function
    raises SlowPattern if the pattern takes seconds for one line.
    """
    search = Search(pattern)

    def paint(lines: bytes) -> bytes:
        text = lines.decode("utf-8", "surrogateescape")
        with search.within_limits():
            painted = "\n".join([_painted(search, line) for line in text.split("\n")])
        return painted.encode("utf-8", "surrogateescape")

    return paint


def _painted(search: Search, line: str) -> str:
    if "\x1b" not in line and len(line) <= MAX_SEARCHED:
        return search.sub(rf"{_ON}\g<0>{_OFF}", line).replace(_ON + _OFF, "")  # of empty matches
    spans = search.spans(without_colour(line))
    codes = deque(code for start, end in spans for code in ((start, _ON), (end, _OFF)))
    shown, position, is_on = [], 0, False  # the position is one in the text without colours
    for number, part in enumerate(_SGR_OR_TEXT.split(line)):
        if number % 2:  # colours, which may reset all
            shown.append(part + _ON * is_on)
            continue
        end = position + len(part)
        while codes and (codes[0][0] <= end if is_on else codes[0][0] < end):
            at, code = codes.popleft()
            shown += [part[: at - position], code]
            part, position, is_on = part[at - position :], at, not is_on
        shown.append(part)
        position = end
    return "".join(shown)


def _searchable(data: bytes) -> list[str]:
    """Return the text of each line in `data`, and of what follows the last newline."""
    text = without_colour(data.decode("utf-8", "replace"))
    lines = text.split("\n")
    if "\r" in text:
        return [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return lines
