"""Messages of orch on stderr: `orch: ...`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from orchestrator.logs.sanitize import sanitize
from orchestrator.plan.masking import masked_text
from orchestrator.ui.terminal import SGR, columns, wants_colour, width_of
from orchestrator.util.process import discard_output

# A line with this many blanks before it is a command to paste, or formatted already.
_MIN_COMMAND_INDENT = 4
_MIN_WIDTH = 40  # columns of a terminal in which lines are wrapped
_HANGING_INDENT = "    "
_WORD = re.compile(r"(?:`[^`]*`|\S)+")


def message(text: str, colour: str | None = None) -> bytes:
    """Return a message of one line or a few for stderr, with colour if the terminal has it."""
    # It may contain output of a node, or a secret.
    safe = sanitize(masked_text(text).encode(errors="replace")).decode()
    shown = wrapped(f"orch: {safe}", width_of(2))
    if colour is not None and wants_colour(2):
        shown = f"orch: \x1b[{SGR[colour]}m{shown.removeprefix('orch: ')}\x1b[0m"
    return f"{shown}\n".encode()


_log_writer: Callable[[bytes], None] | None = None  # writes above what is drawn on stderr


def log_through(write: Callable[[bytes], None] | None) -> None:
    """Have `write` write lines of the log (it must return at once); None: `write_log` writes them."""
    global _log_writer
    _log_writer = write


def write_log(line: bytes) -> None:
    """Write a line of the log without damaging what is drawn on stderr."""
    if _log_writer is not None:
        _log_writer(line)
    else:
        # While a session on a node uses the terminal, a newline does not return to the first column.
        Stderr().write(line.replace(b"\n", b"\r\n") if sys.stderr.isatty() else line)


class Stderr:
    """Writes messages to stderr at once, for commands without a console. A closed stderr is ignored."""

    def __init__(self) -> None:
        self._is_open = True

    def line(self, text: str, colour: str | None = None) -> None:
        """Write a message of one line or a few."""
        self.write(message(text, colour))

    def write(self, lines: bytes) -> None:
        """Write whole lines as they are."""
        if self._is_open:
            try:
                sys.stderr.write(lines.decode())
                sys.stderr.flush()
            except OSError:
                self._is_open = False
                discard_output(2)


def wrapped(text: str, width: int | None) -> str:
    """Return `text` with its lines wrapped between words to `width` columns; None: as it is."""
    if width is None or width < _MIN_WIDTH:
        return text
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    blanks = len(line) - len(line.lstrip(" "))
    if columns(line) <= width or blanks >= _MIN_COMMAND_INDENT:
        return line
    hang = _HANGING_INDENT + " " * blanks
    rows, row = [], " " * blanks
    for word in _WORD.findall(line):
        if row.strip() and columns(row) + 1 + columns(word) > width:
            rows.append(row)
            row = hang + word
        else:
            row += (" " if row.strip() else "") + word
    return "\n".join([*rows, row])
