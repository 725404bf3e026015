"""Draw rows at the bottom of a terminal, below the output that scrolls by.

No cursor is hidden and no mode outlasts one write, so the terminal is intact however orch ends.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress

from orchestrator.logs.sanitize import without_colour

Row = tuple[tuple[str, str], ...]
"""One line: pieces of text, each with its SGR parameters (`1;31`, or empty)."""

SGR = {"red": "31", "green": "32", "yellow": "33"}

Render = Callable[[int, int], Sequence[Row]]
"""Returns the rows for a terminal of so many columns and lines."""

# Terminals with synchronized output show a frame at once; others ignore this.
_BEGIN, _END = b"\x1b[?2026h", b"\x1b[?2026l"
# If the terminal and Unicode disagree about the width of a character, a row is cropped, not wrapped.
_NO_WRAP, _WRAP = b"\x1b[?7l", b"\x1b[?7h"
_ERASE = b"\r\x1b[J"  # from the cursor to the end of the screen

RESET = b"\x1b[0m" + _WRAP + _END + b"\r\n\x1b[J"
"""Brings a terminal to a new line after a frame that was cut short."""


def can_draw(descriptor: int) -> bool:
    """Tell whether this is a terminal that can move the cursor."""
    return os.isatty(descriptor) and os.environ.get("TERM", "dumb") != "dumb"


def wants_colour(descriptor: int) -> bool:
    """Tell whether this is a terminal, and the user has not disabled colour."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return os.isatty(descriptor) and not plain


def width_of(descriptor: int) -> int | None:
    """Return how many columns this terminal has; None if it is no terminal or does not know."""
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


def columns(text: str) -> int:
    """Return how many columns `text` takes; one too many rather than one too few."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if character == "\N{VARIATION SELECTOR-16}":  # widens what it follows to an emoji
        return 1
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def printable(text: str) -> str:
    """Return `text` without control characters and escape sequences, colours included."""
    if text.isprintable():
        return text
    plain = without_colour(text).replace("\t", " ")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)


def paint(row: Row, width: int, *, colour: bool) -> bytes:
    """Return a row for a terminal, cut to `width` columns."""
    row = tuple((printable(text), style) for text, style in row)
    if sum(columns(text) for text, _ in row) > width:
        row = (*_cropped(row, width - 1), ("…", ""))
    painted = (f"\x1b[{style}m{text}\x1b[0m" if style and colour else text for text, style in row)
    return "".join(painted).encode()


def _cropped(row: Row, width: int) -> Row:
    cropped: list[tuple[str, str]] = []
    for text, style in row:
        end = 0
        for end, character in enumerate(text):
            width -= _columns_of(character)
            if width < 0:
                return (*cropped, (text[:end], style))
        cropped.append((text, style))
    return tuple(cropped)


class Footer:
    """The rows at the bottom of the terminal `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._colour = wants_colour(descriptor)
        self._drawn: list[bytes] = []
        self._size = (0, 0)
        self._moving = False

    @property
    def is_drawn(self) -> bool:
        """Whether rows are on the screen now."""
        return bool(self._drawn)

    @property
    def is_late(self) -> bool:
        """Whether the rows were left out of the last frame and should be drawn soon."""
        return self._moving

    def forget(self) -> None:
        """Forget the rows: the last frame was not written, or not completely."""
        self._drawn = []

    def frame(self, lines: bytes, render: Render | None) -> bytes:
        """Return the bytes that write whole `lines` above the rows of `render` (None: remove the rows);
        empty if nothing changes.
        """
        size = self._ask_size() if render is not None else (0, 0)
        # While the window is being resized, rows would be drawn for an old size.
        self._moving, self._size = size != self._size, size
        is_still = render is not None and all(size) and not self._moving
        rows = render(*size) if render is not None and is_still else ()
        drawn = [paint(row, size[0], colour=self._colour) for row in rows]
        if drawn == self._drawn and not lines:
            return b""
        before, self._drawn = self._drawn, drawn
        if not before and not drawn:
            return lines
        return b"".join((_BEGIN, _ERASE if before else b"", lines, _drawing(drawn), _END))

    def _ask_size(self) -> tuple[int, int]:
        """Return columns and lines; zeros if nothing should be drawn."""
        with suppress(OSError):
            if os.tcgetpgrp(self._descriptor) != os.getpgrp():
                self._drawn = []  # a shell has written below them
                return (0, 0)
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:  # the terminal is gone
            return (0, 0)
        return (size.columns, size.lines)


def _drawing(rows: list[bytes]) -> bytes:
    """Return the bytes that draw rows and move the cursor back to the first one.

    So all rows, and no output, stay below the cursor even if a narrower terminal rewraps them.
    """
    if not rows:
        return b""
    up = b"\x1b[%dA" % (len(rows) - 1) if len(rows) > 1 else b""
    return _NO_WRAP + b"\r\n".join(rows) + _WRAP + up + b"\r"
