"""Draw at the bottom of a terminal, under what scrolls by: rows that never wrap, and never stay.

No cursor is hidden and no mode outlives one write, so however orch ends the terminal is as it was.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress

from orchestrator.logs.sanitize import without_colour

Row = tuple[tuple[str, str], ...]
"""One line: pieces of text, each with its SGR parameters (`1;31`, or empty)."""

Render = Callable[[int, int], Sequence[Row]]
"""Gives rows for a terminal of so many columns and lines."""

# Terminals that know synchronized output show a frame at once; others pass these over.
_BEGIN, _END = b"\x1b[?2026h", b"\x1b[?2026l"
# Where terminal and Unicode disagree on the width of a character, a row is cropped, not wrapped.
_WRAP_NOT, _WRAP = b"\x1b[?7l", b"\x1b[?7h"
_ERASE = b"\r\x1b[J"  # from where the cursor waits

MEND = b"\x1b[0m" + _WRAP + _END + b"\r\n\x1b[J"
"""Bring a terminal to a fresh line after a frame that broke off somewhere."""


def can_draw(descriptor: int) -> bool:
    """Tell whether this is a terminal that understands where to draw."""
    return os.isatty(descriptor) and os.environ.get("TERM", "dumb") != "dumb"


def wants_colour(descriptor: int) -> bool:
    """Tell whether this is a terminal of a person who likes colour."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return os.isatty(descriptor) and not plain


def width_of(descriptor: int) -> int | None:
    """Return how many columns this terminal has; None where it is none, or does not say."""
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


def columns(text: str) -> int:
    """Return how many columns `text` takes; rather one too many than one too few."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if character == "\N{VARIATION SELECTOR-16}":  # widens what it follows to an emoji
        return 1
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def printable(text: str) -> str:
    """Return `text` without anything that a terminal could obey, colours included."""
    if text.isprintable():
        return text
    plain = without_colour(text).replace("\t", " ")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)


def paint(row: Row, width: int, *, colour: bool) -> bytes:
    """Return a row as a terminal gets it, cut to `width` columns."""
    row = tuple((printable(text), style) for text, style in row)
    if sum(columns(text) for text, _ in row) > width:
        row = (*_fitting(row, width - 1), ("…", ""))
    painted = (f"\x1b[{style}m{text}\x1b[0m" if style and colour else text for text, style in row)
    return "".join(painted).encode()


def _fitting(row: Row, width: int) -> Row:
    """Return as much of a row as has room in `width` columns."""
    fitting: list[tuple[str, str]] = []
    for text, style in row:
        end = 0
        for end, character in enumerate(text):
            width -= _columns_of(character)
            if width < 0:
                return (*fitting, (text[:end], style))
        fitting.append((text, style))
    return tuple(fitting)


class Footer:
    """The rows at the bottom of the terminal `descriptor`, and what it takes to draw over them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._colour = wants_colour(descriptor)
        self._drawn: list[bytes] = []
        self._size = (0, 0)
        self._moving = False

    @property
    def is_drawn(self) -> bool:
        """Whether rows stand there now."""
        return bool(self._drawn)

    @property
    def is_late(self) -> bool:
        """Whether the next frame should not wait for news: the last one left the rows out."""
        return self._moving

    def forget(self) -> None:
        """Take note that what was to be written has not been, or not all of it."""
        self._drawn = []

    def frame(self, lines: bytes, render: Render | None) -> bytes:
        """Return what writes `lines`, which are whole, above the rows that `render` gives (None: no
        rows any more); nothing where nothing changes.
        """
        size = self._ask_size() if render is not None else (0, 0)
        # While a person drags the window's edge, rows would be drawn for what it is no longer.
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
        """Return columns and lines; zeros where nothing should be drawn."""
        with suppress(OSError):
            if os.tcgetpgrp(self._descriptor) != os.getpgrp():
                self._drawn = []  # a shell has written under them since
                return (0, 0)
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:  # it is gone
            return (0, 0)
        return (size.columns, size.lines)


def _drawing(rows: list[bytes]) -> bytes:
    """Return what draws rows and goes back to their beginning.

    The cursor waits there: however a terminal breaks rows anew as it becomes narrower, all of them stay
    below it, and no line of output does.
    """
    if not rows:
        return b""
    up = b"\x1b[%dA" % (len(rows) - 1) if len(rows) > 1 else b""
    return _WRAP_NOT + b"\r\n".join(rows) + _WRAP + up + b"\r"
