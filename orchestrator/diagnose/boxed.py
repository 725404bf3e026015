"""Undo the frames that rich draws around a traceback, so that it reads like one of Python's own.

rich.traceback prints a box with a title, each frame as `path:line in function`, and the exception below it.
"""

from __future__ import annotations

import re

TITLE = "Traceback (most recent call last)"
"""In the top edge of a box; Python's own header has a colon after it."""

_TOP = re.compile(r"\s{0,40}[╭+┌][─-]{1,200} " + re.escape(TITLE) + r" [─-]{1,200}[╮+┐]?$")
_BOTTOM = re.compile(r"\s{0,40}[╰+└][─-]{2,400}[╯+┘]?$")
_SIDE = re.compile(r"\s{0,40}[│|] ?(?P<inside>.*?)\s*[│|]?$")
_FRAME = re.compile(
    r"(?P<file>(?:/|\.{0,2}/|[A-Za-z]:\\|<)?[^\s:]{1,1000}):(?P<line>\d{1,9}) in (?P<function>.{1,200})"
)


class Unboxed:
    """Reads the lines of one program; each comes back as Python would have printed it."""

    def __init__(self) -> None:
        self._inside = False

    def line(self, text: str) -> str:
        """Return the line without its box: as a header, a frame, or an indented line."""
        if _TOP.match(text):
            self._inside = True
            return f"{TITLE}:"
        if not self._inside:
            return text
        if _BOTTOM.match(text):
            self._inside = False
            return " "
        side = _SIDE.match(text)
        if side is None:
            self._inside = False
            return text
        frame = _FRAME.fullmatch(side["inside"].strip())
        if frame is None:
            return f"    {side['inside']}"
        return f'  File "{frame["file"]}", line {frame["line"]}, in {frame["function"]}'
