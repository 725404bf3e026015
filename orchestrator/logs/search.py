"""Search lines with a regular expression of the user's own, each for a bounded time.

`(a+)+$` on a line of forty `a` takes Python's `re` longer than anybody lives. It looks for signals while it
matches, so a timer ends it: one that ticks, and costs the lines between two ticks nothing.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Of a line, so much is searched: a pattern may take a time that grows with the square of it.
SEARCHED = 16 * 1024
TICK = 1.0  # seconds of processor time: one line may take from one to two of these


class SlowPattern(ValueError):
    """A regular expression that takes too long for a line; it says which, and what to write instead."""


class Search:
    """Finds a pattern in lines; search `within_limits`.

    Off the main thread, where Python handles no signals, there is no limit.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._searched: str | None = None
        self._at_last_tick: str | None = None

    @contextmanager
    def within_limits(self) -> Iterator[None]:
        """End a search that takes too long, with SlowPattern, which names the pattern and the line."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._searched = self._at_last_tick = None
        former = signal.signal(signal.SIGVTALRM, self._tick)
        signal.setitimer(signal.ITIMER_VIRTUAL, TICK, TICK)
        try:
            yield
        finally:
            self._searched = None
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, former)

    def finds(self, line: str) -> bool:
        """Tell whether the pattern is in the line's first 16384 characters."""
        self._searched = line
        return self._pattern.search(line, 0, SEARCHED) is not None

    def sub(self, replacement: str, line: str) -> str:
        """Return the line, of at most 16384 characters, with what the pattern finds replaced."""
        self._searched = line
        return self._pattern.sub(replacement, line)

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Return where in the line's first 16384 characters something is found that is not empty."""
        self._searched = line
        found = self._pattern.finditer(line, 0, SEARCHED)
        return [match.span() for match in found if match.end() > match.start()]

    def _tick(self, number: int, frame: FrameType | None) -> None:
        line, before = self._searched, self._at_last_tick
        self._at_last_tick = line
        if line is not None and line is before:
            raise SlowPattern(
                f"{self._pattern.pattern[:60]!r} takes too long: over {TICK:g} s for a line of {len(line)} "
                f"characters, which begins {line[:40]!r}; "
                "write it without a repeat in another repeat, as in (a+)+, or several .* in a row"
            )
