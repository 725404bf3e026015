"""Keep the lines that match, paint what matches, keep the last ones: filters before what shows lines."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator

from orchestrator.logs.chunking import LONGEST, cut
from orchestrator.logs.lines import Lines
from orchestrator.logs.sanitize import SGR, without_colour
from orchestrator.logs.search import SEARCHED, Search
from orchestrator.logs.stream import Stream

_MAX_PATTERN = 1000

# Reverse video: it can be ended without touching the colours that the line has itself.
_ON, _OFF = "\x1b[7m", "\x1b[27m"


def parse_pattern(text: str) -> re.Pattern[str]:
    """Compile a regular expression of Python's; ValueError says what is wrong with it."""
    if len(text) > _MAX_PATTERN:
        raise ValueError(
            f"a regular expression of {len(text)} characters is too long; {_MAX_PATTERN} are the most"
        )
    try:
        with warnings.catch_warnings():
            # Of what Python may one day read otherwise, as [[:alpha:]]: it is not what was meant now.
            warnings.simplefilter("error", FutureWarning)
            return re.compile(text)
    except FutureWarning as warning:
        said = f"{str(warning)[:1].lower()}{str(warning)[1:]}"
        raise ValueError(
            f"{text[:60]!r} is not clear: {said} (Python's expressions have no [[:alpha:]]); "
            "write \\ before a character that is meant as itself"
        ) from None
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise ValueError(
            f"{text[:60]!r} is not a regular expression: {error.msg}{where}; "
            "write \\ before a character that is meant as itself"
        ) from None
    except (OverflowError, RecursionError):
        raise ValueError(f"{text[:60]!r} is too large for a regular expression") from None


class Grep:
    """Passes on to `lines` the lines that match, whole, with the bytes that they have.

    A line is searched as it is seen: without colour, and of one with `\\r` what a terminal would be
    left with. A byte that is not UTF-8 is U+FFFD to the pattern. Of a long line the first 16384
    characters are searched; one of over `max_line` bytes comes in parts, and its first part decides.
    Raises SlowPattern for one that takes seconds for one line.
    """

    def __init__(self, pattern: re.Pattern[str], lines: Lines, *, max_line: int = LONGEST) -> None:
        self._search = Search(pattern)
        self._lines = lines
        self._max_line = max_line
        self._partials: dict[Stream, tuple[bytearray, float]] = {}
        self._goes_on: dict[Stream, bool] = {}  # in a line of several parts: whether it matches

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        """What `lines` makes of the matching lines that `chunk` completes."""
        data = self._partials.pop(stream, (bytearray(), t))[0]
        data += chunk
        if b"\n" not in chunk and len(data) <= self._max_line:
            if data:
                self._partials[stream] = (data, t)
            return b""
        *parts, last = cut(bytes(data), self._max_line)
        end = last.rfind(b"\n") + 1
        if end < len(last):
            self._partials[stream] = (bytearray(last[end:]), t)
        with self._search.within_limits():
            kept = b"".join([self._matching(stream, part) for part in (*parts, last[:end])])
        return self._lines.feed(stream, kept, t) if kept else b""

    @property
    def waiting(self) -> bool:
        """Whether `flush` may have something to show: not of what has not been searched yet."""
        return self._lines.waiting

    def flush(self, now: float) -> bytes:
        """What `lines` has to show by now."""
        return self._lines.flush(now)

    def close(self) -> bytes:
        """Everything still held back that matches, as if each stream had ended with a newline."""
        shown = []
        for stream, (partial, t) in self._partials.items():
            with self._search.within_limits():
                kept = self._matching(stream, bytes(partial))
            if kept:
                shown.append(self._lines.feed(stream, kept, t))
        self._partials.clear()
        self._goes_on.clear()
        return b"".join(shown) + self._lines.close()

    def _matching(self, stream: Stream, data: bytes) -> bytes:
        """The lines in `data` that match; the first may have begun, the last may go on."""
        if not data:
            return b""
        lines, texts = _whole_lines(data), _searchable(data)
        finds = self._search.finds
        kept: list[bytes] = []
        goes_on = not data.endswith(b"\n")
        begun = self._goes_on.pop(stream, None)
        if begun is not None:
            if begun:
                kept.append(lines[0])
            if goes_on and len(lines) == 1:
                self._goes_on[stream] = begun
                return b"".join(kept)
            del lines[0], texts[0]
        kept += [line for line, text in zip(lines, texts, strict=False) if finds(text)]
        if goes_on:
            self._goes_on[stream] = finds(texts[-1])
        return b"".join(kept)


class LastLines:
    """Holds back everything but the last `count` lines until `release`; then all passes to `lines`.

    For the last lines that match: `Grep(pattern, LastLines(10, lines))`. It is fed whole lines.
    """

    def __init__(self, count: int, lines: Lines) -> None:
        self._lines = lines
        self._held: deque[tuple[Stream, bytes, float]] | None = deque(maxlen=count)

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        if self._held is None:
            return self._lines.feed(stream, chunk, t)
        self._held.extend((stream, line, t) for line in _whole_lines(chunk))
        return b""

    def release(self) -> bytes:
        """Show the last lines; from now on nothing is held back here."""
        held, self._held = self._held or (), None
        return b"".join([self._lines.feed(stream, line, t) for stream, line, t in held])

    @property
    def waiting(self) -> bool:
        return self._lines.waiting

    def flush(self, now: float) -> bytes:
        return self._lines.flush(now)

    def close(self) -> bytes:
        return self.release() + self._lines.close()


def painter(pattern: re.Pattern[str]) -> Callable[[bytes], bytes]:
    """What shows the matches in lines in reverse video, for the `paint` of TextLines.

    A line's own colours stay, also within a match. Bytes that are not UTF-8 stay as they are.
    It raises SlowPattern for one that takes seconds for one line.
    """
    search = Search(pattern)

    def paint(lines: bytes) -> bytes:
        text = lines.decode("utf-8", "surrogateescape")
        with search.within_limits():
            painted = "\n".join([_painted(search, line) for line in text.split("\n")])
        return painted.encode("utf-8", "surrogateescape")

    return paint


def _painted(search: Search, line: str) -> str:
    if "\x1b" not in line and len(line) <= SEARCHED:
        return search.sub(rf"{_ON}\g<0>{_OFF}", line).replace(_ON + _OFF, "")  # of empty matches
    colours: list[tuple[int, str]] = []  # where in the text without them
    removed = 0
    for found in SGR.finditer(line):
        colours.append((found.start() - removed, found[0]))
        removed += len(found[0])
    text = without_colour(line)
    matches = search.spans(text)
    if not matches:
        return line
    shown: list[str] = []
    done = 0
    for place, code in _merged(matches, colours):
        shown += [text[done:place], code]
        done = place
    return "".join(shown) + text[done:]


def _merged(
    matches: list[tuple[int, int]], colours: list[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    """All codes in their order. A line's own one may reset everything: within a match, once more."""
    rest = deque(colours)
    for start, end in matches:
        while rest and rest[0][0] <= start:
            yield rest.popleft()
        yield start, _ON
        while rest and rest[0][0] < end:
            place, code = rest.popleft()
            yield place, code + _ON
        yield end, _OFF
    yield from rest


def _searchable(data: bytes) -> list[str]:
    """The texts of the lines in `data`."""
    text = without_colour(data.decode("utf-8", "replace"))
    lines = text.split("\n")
    if "\r" in text:
        return [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return lines


def _whole_lines(data: bytes) -> list[bytes]:
    *lines, last = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([last] if last else [])
