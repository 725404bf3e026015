"""stdout and stderr of this process: a display each, or one for both where they are the same file.

So whoever stops reading one of them keeps nothing from the other, and on a terminal everything comes
in the order in which it happened.
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
    """Takes output and messages, and returns at once; displays are made when they are needed."""

    def __init__(self) -> None:
        self._is_one = os.path.sameopenfile(1, 2)
        self._draws = can_draw(2)
        self._displays: dict[int, Display] = {}
        self._making = threading.Lock()

    @property
    def draws(self) -> bool:
        """Whether stderr is a terminal to draw on."""
        return self._draws

    @property
    def have_room_for_a_panel(self) -> bool:
        """Whether both are one terminal, to draw on."""
        return self._is_one and self._draws

    def show(self, output: Output, descriptor: int, make_lines: Callable[[], Lines | None]) -> None:
        """Show output on 1 or 2, through lines that are made for the first of it."""
        display = self._display(descriptor)
        if display.lines is None:
            display.lines = make_lines()
        display.show(output)

    def say(self, text: str, colour: str | None = None) -> None:
        """Write a message to stderr."""
        self._display(2).say(message(text, colour))

    def draw(self, footer: Render | None) -> None:
        """Let this stand at the bottom of the terminal, where stderr is one."""
        if self._draws:
            self._display(2).draw(footer)

    def refresh(self) -> None:
        """Let what stands at the bottom be drawn anew."""
        if self._draws and (display := self._displays.get(self._key(2))):
            display.refresh()

    def close(self, last: bytes, patience: float | None) -> None:
        """Write all that is left, and `last` to stderr; see `Display.close`."""
        try:
            if not self._is_one and 1 in self._displays:
                self._displays.pop(1).close(patience=patience)
        finally:
            if last or self._key(2) in self._displays:
                self._display(2).close(last, patience)
                log_through(None)
            self._displays.clear()

    def _key(self, descriptor: int) -> int:
        return 1 if self._is_one else descriptor

    def _display(self, descriptor: int) -> Display:
        key = self._key(descriptor)
        with self._making:  # a display that finds its reader gone may have the first thing to say
            if key not in self._displays:
                self._displays[key] = Display(key, self._report_broken if key == 1 else None)
                if key == self._key(2):
                    log_through(self._displays[key].log)
            return self._displays[key]

    def _report_broken(self, error: OSError) -> None:
        if not self._is_one:
            self.say(
                f"warning: nobody reads the output any more ({error.strerror}); the run goes on, "
                "its logs are kept",
                "yellow",
            )
