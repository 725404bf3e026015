"""Show how a run ended and why it failed, in a few rows: what broke, its cause, the fix, and the logs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import partial

from orchestrator import events
from orchestrator.hangs.locations import rank_label
from orchestrator.ui import messages
from orchestrator.ui.table import Cell, label_cell, labelled
from orchestrator.ui.terminal import Row, columns, paint, printable, wants_colour, width_of
from orchestrator.util.durations import lifetime
from orchestrator.util.text import counted

DEFAULT_WIDTH = 80
"""Columns if there is no terminal."""

_MIN_WIDTH = 40
_MAX_ROWS = 3  # per item
_RED, _GREEN, _DIM = "31", "32", "2"


def ended(
    event: events.Ended,
    why: events.Explained | None = None,
    files: events.FilesWritten | None = None,
) -> bytes:
    """Return how a run ended, `why` it failed, and where its `files` are, for stderr."""
    width = max(_MIN_WIDTH, width_of(2) or DEFAULT_WIDTH)
    colour = wants_colour(2)
    lines = [paint(row, width, colour=colour) for row in rows(event, why, width, files)]
    return b"".join(line.rstrip() + b"\n" for line in lines)


def rows(
    event: events.Ended,
    why: events.Explained | None,
    width: int,
    files: events.FilesWritten | None = None,
) -> Iterator[Row]:
    """Return the same in rows for a terminal of `width` columns."""
    text = printable(messages.ended(event))
    colour = _GREEN if event.exit_code == 0 else _RED
    prefix = "orch: "
    for line in textwrap.wrap(text, width - len(messages.INDENT), subsequent_indent="  "):
        yield ((prefix, ""), (line, colour))
        prefix = messages.INDENT
    logs = messages.short_path(event.folder / "logs")
    if why is None:
        yield ((f"{messages.INDENT}logs: {logs}", ""),)
    else:
        yield from explained(why, width)
        yield (_label("logs"), (logs, ""))
    if files is not None:
        label = ((f"{messages.INDENT}files: ", ""),) if why is None else (_label("files"),)
        yield from _files(label, files, width)


def _files(label: Row, event: events.FilesWritten, width: int) -> Iterator[Row]:
    """Return where the run's files are, how many, and the command that fetches them."""
    where, many, command = messages.files(event)
    indent = sum(columns(text) for text, _ in label)
    texts = [where]
    for joint, part in ((" ", many), (" · ", command)):
        if indent + columns(texts[-1] + joint + part) <= width:
            texts[-1] += joint + part
        else:
            texts.append(part)
    yield (*label, (texts[0], ""))
    for text in texts[1:]:
        yield ((" " * indent, ""), (text, ""))


def explained(why: events.Explained, width: int) -> Iterator[Row]:
    """Return why a run failed, in rows for a terminal of `width` columns."""
    *causes, others = items(why)
    item = partial(labelled, width=width, indent=messages.INDENT, max_rows=_MAX_ROWS)
    for label, text, style in causes:
        yield from item(label, text, style=style)
    for number, line in enumerate(why.lines):
        yield (_label(why.channel if number == 0 else ""), ("│ ", _DIM), (line, ""))
    yield from item(others[0], others[1])
    yield (_label("more"), (why.command, "1"))


def items(why: events.Explained) -> list[tuple[str, str, str]]:
    """Return label, text and SGR style of each item: why a run failed, and last, what followed from it.

    A text that is unknown is empty.
    """
    where = f"at {why.place}" if why.place else ""
    when = f"{lifetime(why.after)} after it started" if why.after is not None else ""
    others = [
        f"{counted(len(ranks), 'rank')} {what}: {rank_label(ranks)}"
        for ranks, what in ((why.victims, "ended"), (why.unbegun, "never started"))
        if ranks
    ]
    return [
        ("error", why.error, _RED),
        ("" if why.error else "when", ", ".join(filter(None, (where, when))), ""),
        ("cause", "; ".join(filter(None, (why.meaning, why.cause))), ""),
        ("", why.evidence, _DIM),
        ("looked", where_looked(why.looked), _DIM),
        ("fix", why.fix, _GREEN),
        ("check", why.check and f"orch preflight --only {why.check}", ""),
        ("then", "; ".join(others), ""),
    ]


def where_looked(looked: Sequence[str]) -> str:
    """Return where orch looked on the node, and what it saw, as one text; empty for nowhere."""
    return f"at {'; '.join(looked)}" if looked else ""


def _label(text: str) -> Cell:
    return label_cell(text, messages.INDENT)
