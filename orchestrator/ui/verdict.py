"""Why a run failed, in a few rows: what broke, its cause and what to do, and where to read on."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator

from orchestrator import events
from orchestrator.hangs.locations import rank_label
from orchestrator.ui import messages
from orchestrator.ui.terminal import Row, columns, paint, printable, wants_colour
from orchestrator.util.durations import lifetime
from orchestrator.util.text import counted

_WIDTH = 80  # columns where there is no terminal to ask
_NARROWEST = 40
_LABEL = 8
_MOST_ROWS = 3  # of one sentence
_RED, _GREEN, _DIM = "31", "32", "2"


def ended(
    event: events.Ended,
    why: events.Explained | None = None,
    files: events.FilesWritten | None = None,
) -> bytes:
    """Return how a run ended, `why` it failed, and where its `files` are, for stderr.

    Coloured on a terminal of who likes that.
    """
    width = _width()
    colour = wants_colour(2)
    lines = [paint(row, width, colour=colour) for row in rows(event, why, width, files)]
    return b"".join(line.rstrip() + b"\n" for line in lines)


def rows(
    event: events.Ended,
    why: events.Explained | None,
    width: int,
    files: events.FilesWritten | None = None,
) -> Iterator[Row]:
    """Return it for a terminal of `width` columns."""
    said = messages.ended(event)
    colour = _GREEN if event.exit_code == 0 else _RED
    first = True
    for line in textwrap.wrap(
        printable(said), width - len(messages.INDENT), subsequent_indent="  "
    ):
        yield (("orch: " if first else messages.INDENT, ""), (line, colour))
        first = False
    logs = messages.short_path(event.folder / "logs")
    if why is None:
        yield ((f"{messages.INDENT}logs: {logs}", ""),)
    else:
        yield from explained(why, width)
        yield (*_label("logs"), (logs, ""))
    if files is not None:
        label = ((f"{messages.INDENT}files: ", ""),) if why is None else _label("files")
        yield from _files(label, files, width)


def _files(label: Row, event: events.FilesWritten, width: int) -> Iterator[Row]:
    """Return where the run's files are, how many, and how to have them, in as few rows as fit."""
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
    where = f"at {why.place}" if why.place else ""
    when = f"{lifetime(why.after)} after it began" if why.after is not None else ""
    yield from _sentence("error", why.error, width, _RED)
    told = ", ".join(filter(None, (where, when)))
    yield from _sentence("" if why.error else "when", told, width)
    yield from _sentence("cause", "; ".join(filter(None, (why.meaning, why.cause))), width)
    yield from _sentence("", why.evidence, width, _DIM)
    yield from _sentence("fix", why.fix, width, _GREEN)
    if why.check:
        yield from _sentence("check", f"orch preflight --only {why.check}", width)
    for number, line in enumerate(why.lines):
        yield (*_label(why.channel if number == 0 else ""), ("│ ", _DIM), (line, ""))
    others = [
        f"{counted(len(who), 'rank')} {what}: {rank_label(who)}"
        for who, what in ((why.victims, "ended"), (why.unbegun, "never began"))
        if who
    ]
    yield from _sentence("then", "; ".join(others), width)
    yield (*_label("more"), (why.command, "1"))


def _sentence(label: str, text: str, width: int, style: str = "") -> Iterator[Row]:
    """Return a sentence in a few rows; nothing of an empty one."""
    room = width - len(messages.INDENT) - _LABEL
    wrapped = textwrap.wrap(printable(text), room, max_lines=_MOST_ROWS, placeholder=" …")
    for number, line in enumerate(wrapped):
        yield (*_label(label if number == 0 else ""), (line, style))


def _label(text: str) -> Row:
    return ((messages.INDENT, ""), (f"{text and text + ':':<{_LABEL}}", _DIM))


def _width() -> int:
    try:
        return max(_NARROWEST, os.get_terminal_size(2).columns)
    except OSError:
        return _WIDTH
