"""What orch itself says, on stderr: `orch: ...`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from orchestrator.logs.sanitize import sanitize
from orchestrator.plan.masking import masked_text
from orchestrator.ui.terminal import columns, wants_colour, width_of
from orchestrator.util.process import silence

_PASTED = 4  # a line that begins with so many blanks is one to paste, or laid out already
_WORD = re.compile(r"(?:`[^`]*`|\S)+")
_LEAST = 40  # columns; narrower than that, nothing is gained
_HANG = "    "
_SGR = {"red": "31", "green": "32", "yellow": "33"}


def message(text: str, colour: str | None = None) -> bytes:
    """Return a line (or a few) of orch's own, for stderr; coloured on a terminal of who likes that."""
    # A node's own words may be in it, or what somebody has typed.
    said = sanitize(masked_text(text).encode(errors="replace")).decode()
    said = folded(f"orch: {said}", width_of(2))
    if colour is not None and wants_colour(2):
        said = f"orch: \x1b[{_SGR[colour]}m{said.removeprefix('orch: ')}\x1b[0m"
    return f"{said}\n".encode()


_display: Callable[[bytes], None] | None = None  # writes above what is drawn on stderr


def log_through(write: Callable[[bytes], None] | None) -> None:
    """Have lines of the log written by `write`, which returns at once; None: by `write_log` itself."""
    global _display
    _display = write


def write_log(line: bytes) -> None:
    """Write a line of the log, without tearing what is drawn on stderr."""
    if _display is not None:
        _display(line)
    else:
        # While a session on a node has the terminal, that does not return to the first column by itself.
        Stderr().write(line.replace(b"\n", b"\r\n") if sys.stderr.isatty() else line)


class Stderr:
    """Lines about the doing, on stderr, for commands that have no console, or none any more."""

    def __init__(self) -> None:
        self._heard = True

    def line(self, text: str, colour: str | None = None) -> None:
        """Write one line (or a few), at once. Nobody reading it any more is no reason to fail."""
        self.write(message(text, colour))

    def write(self, said: bytes) -> None:
        """Write whole lines as they are."""
        if self._heard:
            try:
                sys.stderr.write(said.decode())
                sys.stderr.flush()
            except OSError:
                self._heard = False
                silence(2)


def folded(text: str, width: int | None) -> str:
    """Return `text` with its lines at most `width` columns wide, where words let it; None: as it is."""
    if width is None or width < _LEAST:
        return text
    return "\n".join(_folded_line(line, width) for line in text.split("\n"))


def _folded_line(line: str, width: int) -> str:
    blanks = len(line) - len(line.lstrip(" "))
    if columns(line) <= width or blanks >= _PASTED:
        return line
    hang = _HANG + " " * blanks
    rows, row = [], " " * blanks
    for word in _WORD.findall(line):
        if row.strip() and columns(row) + 1 + columns(word) > width:
            rows.append(row)
            row = hang + word
        else:
            row += (" " if row.strip() else "") + word
    return "\n".join([*rows, row])
