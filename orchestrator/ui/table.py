"""Tables: columns that align, and on a terminal give way until they fit; one line a row, always."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.logs.sanitize import sanitize
from orchestrator.ui.terminal import columns, paint, printable

_GAP = "  "
_NARROWEST = 20  # columns that the last column should have

Cell = tuple[str, str]
"""Text, and its SGR parameters (`31`, or empty)."""


@dataclass(frozen=True)
class Column:
    """A title and a cell for each row.

    `gives_way` says when the column is left out in a narrow terminal: the lowest first, 0 never.
    """

    title: str
    cells: Sequence[Cell]
    gives_way: int = 0
    is_number: bool = False

    @property
    def width(self) -> int:
        return max(columns(self.title), *(columns(text) for text, _ in self.cells), 0)


def table(
    all_columns: Sequence[Column], width: int | None = None, *, colour: bool = False
) -> list[str]:
    """Return a heading and a line for each row.

    In `width` columns (None: any number), those of the table that matter least are left out, what is
    still too long is cut, and a last line says so.
    """
    shown, hidden = list(all_columns), []
    for column in sorted(all_columns, key=lambda column: column.gives_way):
        if width is not None and column.gives_way and _least(shown) > width:
            shown.remove(column)
            hidden.append(column.title.lower())
    rows = [[(column.title, "1") for column in shown]]
    rows += [list(row) for row in zip(*(column.cells for column in shown), strict=True)]
    lines = [_line(row, shown, width, colour) for row in rows]
    if hidden:
        lines.append(f"({', '.join(hidden)}: in a wider terminal, or --output json)")
    return lines


def _least(shown: Sequence[Column]) -> int:
    """Return the columns of a terminal that these need; the last one may be cut."""
    *others, last = shown
    return sum(column.width + len(_GAP) for column in others) + min(last.width, _NARROWEST)


def _line(row: Sequence[Cell], shown: Sequence[Column], width: int | None, colour: bool) -> str:
    pieces: list[Cell] = []
    for (text, style), column in zip(row, shown, strict=True):
        text = printable(text)
        padding = " " * (column.width - columns(text))
        ends = (("", ""), (padding, "")) if not column.is_number else ((padding, ""), ("", ""))
        pieces += [ends[0], (text, style), ends[1], (_GAP, "")]
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    room = sys.maxsize if width is None else width
    return paint(tuple(piece for piece in pieces if piece[0]), room, colour=colour).decode()


def write(lines: Sequence[str]) -> None:
    """Write lines to stdout; what a node or a file says in them moves no terminal."""
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(sanitize(text.encode(errors="surrogateescape")))
    sys.stdout.buffer.flush()


def stdout_size() -> tuple[int | None, int | None]:
    """Return columns and lines of the terminal that stdout is; None where it is not one."""
    if not os.isatty(1):
        return None, None
    size = shutil.get_terminal_size()
    return size.columns, size.lines
