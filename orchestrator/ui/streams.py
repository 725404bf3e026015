"""stdout and stderr of this process: a display each, or one for both if they are the same file.

So a reader that stops reading one of them does not block the other, and a terminal shows everything in the
order in which it happened.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from orchestrator.events import Output
from orchestrator.logs.lines import Lines
from orchestrator.ui.display import Display
from orchestrator.ui.stderr import log_through, message
from orchestrator.ui.terminal import Render, can_draw


class Streams:
    """Takes output and messages and returns at once. Displays are created when they are needed."""

    def __init__(self) -> None:
        self._is_one = os.path.sameopenfile(1, 2)
        self._can_draw = can_draw(2)
        self._displays: dict[int, Display] = {}
        self._creating = threading.Lock()

    @property
    def can_draw(self) -> bool:
        """Whether stderr is a terminal to draw on."""
        return self._can_draw

    @property
    def have_room_for_a_panel(self) -> bool:
        """Whether both are one terminal to draw on."""
        return self._is_one and self._can_draw

    def show(self, output: Output, descriptor: int, make_lines: Callable[[], Lines | None]) -> None:
        """Show output on descriptor 1 or 2, formatted by the lines that `make_lines` returned at first."""
        display = self._display(descriptor)
        if display.lines is None:
            display.lines = make_lines()
        display.show(output)

    def say(self, text: str, colour: str | None = None) -> None:
        """Write a message to stderr."""
        self._display(2).say(message(text, colour))

    def draw(self, footer: Render | None) -> None:
        """Draw this at the bottom of the terminal, if stderr is one; None removes it."""
        if self._can_draw:
            self._display(2).draw(footer)

    def refresh(self) -> None:
        """Redraw what is at the bottom of the terminal soon."""
        if self._can_draw and (display := self._displays.get(self._key(2))):
            display.refresh()

    def close(self, last: bytes, timeout: float | None) -> None:
        """Write everything that is left, and `last` to stderr; see `Display.close`."""
        try:
            if not self._is_one and 1 in self._displays:
                self._displays.pop(1).close(timeout=timeout)
        finally:
            if last or self._key(2) in self._displays:
                self._display(2).close(last, timeout)
                log_through(None)
            self._displays.clear()

    def _key(self, descriptor: int) -> int:
        return 1 if self._is_one else descriptor

    def _display(self, descriptor: int) -> Display:
        key = self._key(descriptor)
        with self._creating:  # the thread of a display may report a broken pipe
            if key not in self._displays:
                self._displays[key] = Display(key, self._report_broken if key == 1 else None)
                if key == self._key(2):
                    log_through(self._displays[key].log)
            return self._displays[key]

    def _report_broken(self, error: OSError) -> None:
        if not self._is_one:
            self.say(
                f"warning: nothing reads the output any more ({error.strerror}); the run continues and "
                "its logs are kept",
                "yellow",
            )
