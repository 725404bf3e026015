"""Tables: aligned columns, one line per row; on a terminal, columns are hidden until the rest fits."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.logs.sanitize import sanitize
from orchestrator.ui.terminal import Row, columns, paint, printable

LABEL_WIDTH = 8
"""Columns of the label of a row of text."""

_GAP = "  "
_MIN_TEXT_WIDTH = 20
_MIN_LAST_WIDTH = 20  # of the last column, which may be cut

Cell = tuple[str, str]
"""A text, and its SGR parameters (`31`, or empty)."""


@dataclass(frozen=True)
class Column:
    """A title, and a cell for each row.

    `hides` is the order in which columns are hidden in a narrow terminal: from 1; 0 is never.
    """

    title: str
    cells: Sequence[Cell]
    hides: int = 0
    is_number: bool = False

    @property
    def width(self) -> int:
        return max(columns(self.title), *(columns(text) for text, _ in self.cells), 0)


def table(
    all_columns: Sequence[Column], width: int | None = None, *, colour: bool = False
) -> list[str]:
    """Return a heading and a line for each row.

    If they are wider than `width` (None: no limit), the least important columns are hidden, a last line
    names them, and rows that are still too long are cut.
    """
    shown, hidden = list(all_columns), []
    for column in sorted(all_columns, key=lambda column: column.hides):
        if width is not None and column.hides and _min_width(shown) > width:
            shown.remove(column)
            hidden.append(column.title.lower())
    rows = [[(column.title, "1") for column in shown]]
    rows += [list(row) for row in zip(*(column.cells for column in shown), strict=True)]
    lines = [_line(row, shown, width, colour) for row in rows]
    if hidden:
        lines.append(f"({', '.join(hidden)}: in a wider terminal, or --output json)")
    return lines


def _min_width(shown: Sequence[Column]) -> int:
    """Return how wide a terminal these columns need; the last one may be cut."""
    *others, last = shown
    return sum(column.width + len(_GAP) for column in others) + min(last.width, _MIN_LAST_WIDTH)


def _line(row: Sequence[Cell], shown: Sequence[Column], width: int | None, colour: bool) -> str:
    pieces: list[Cell] = []
    for (text, style), column in zip(row, shown, strict=True):
        text = printable(text)
        cell, padding = (text, style), (" " * (column.width - columns(text)), "")
        pieces += [padding, cell] if column.is_number else [cell, padding]
        pieces.append((_GAP, ""))
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    room = sys.maxsize if width is None else width
    return paint(tuple(piece for piece in pieces if piece[0]), room, colour=colour).decode()


def labelled(
    label: str,
    text: str,
    width: int,
    style: str = "",
    *,
    indent: str = "",
    max_rows: int | None = None,
) -> Iterator[Row]:
    """Return a text with its label in rows of at most `width` columns; none for an empty text."""
    room = max(_MIN_TEXT_WIDTH, width - len(indent) - LABEL_WIDTH)
    lines = textwrap.wrap(
        printable(text), room, max_lines=max_rows, placeholder=" …", break_on_hyphens=False
    )
    for number, line in enumerate(lines):
        yield (label_cell(label if number == 0 else "", indent), (line, style))


def label_cell(label: str, indent: str = "") -> Cell:
    """Return the label of a row, `LABEL_WIDTH` columns wide."""
    return (f"{indent}{label and label + ':':<{LABEL_WIDTH}}", "2")


def write(lines: Sequence[str]) -> None:
    """Write lines to stdout, without control sequences that nodes or files put into them."""
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(sanitize(text.encode(errors="surrogateescape")))
    sys.stdout.buffer.flush()


def write_json(value: Any) -> None:
    """Write a value to stdout as JSON; paths and other objects in it become strings."""
    write([json.dumps(value, indent=2, default=str)])


def stdout_size() -> tuple[int | None, int | None]:
    """Return the columns and lines of the terminal at stdout; None if it is not a terminal."""
    if not os.isatty(1):
        return None, None
    size = shutil.get_terminal_size()
    return size.columns, size.lines
