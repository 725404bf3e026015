"""Search lines with a regular expression of the user's, each for a limited time.

`(a+)+$` on a line of forty `a` takes Python's `re` longer than a lifetime. `re` checks for signals while it
matches, so a periodic timer ends the search; lines searched between two ticks cost nothing extra.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator.errors import UsageError

MAX_SEARCHED = 16 * 1024
"""How many characters of a line are searched: the time may grow with the square of it."""
TICK = 1.0  # seconds of processor time; a line may take from one to two ticks


class SlowPattern(UsageError):
    """A regular expression takes too long for a line; the message names it and what to write instead."""


class Search:
    """Finds a pattern in lines; call its methods `within_limits`.

    There is no limit outside of the main thread, where Python handles no signals.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._searched: str | None = None
        self._at_last_tick: str | None = None

    @contextmanager
    def within_limits(self) -> Iterator[None]:
        """End a search that takes too long with SlowPattern, which names the pattern and the line."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._searched = self._at_last_tick = None
        previous = signal.signal(signal.SIGVTALRM, self._tick)
        signal.setitimer(signal.ITIMER_VIRTUAL, TICK, TICK)
        try:
            yield
        finally:
            self._searched = None
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, previous)

    def finds(self, line: str) -> bool:
        """Return whether the pattern is in the first 16384 characters of the line."""
        self._searched = line
        return self._pattern.search(line, 0, MAX_SEARCHED) is not None

    def sub(self, replacement: str, line: str) -> str:
        """Return the line, of at most 16384 characters, with the matches replaced."""
        self._searched = line
        return self._pattern.sub(replacement, line)

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Return the (start, end) of all matches that are not empty in the first 16384 characters."""
        self._searched = line
        found = self._pattern.finditer(line, 0, MAX_SEARCHED)
        return [match.span() for match in found if match.end() > match.start()]

    def _tick(self, number: int, frame: FrameType | None) -> None:
        line, before = self._searched, self._at_last_tick
        self._at_last_tick = line
        if line is not None and line is before:
            raise SlowPattern(
                f"{self._pattern.pattern[:60]!r} takes too long: over {TICK:g} s for a line of {len(line)} "
                f"characters that starts with {line[:40]!r}; avoid a repeat inside another repeat, as in "
                "(a+)+, and several .* in one pattern"
            )
