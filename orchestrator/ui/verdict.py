"""Why a run failed, in a few rows: what broke, its cause and what to do, and where to read on."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator

from orchestrator import events
from orchestrator.hangs.places import ranks
from orchestrator.ui import words
from orchestrator.ui.terminal import Row, paint, printable, wants_colour

_WIDTH = 80  # columns where there is no terminal to ask
_NARROWEST = 40
_LABEL = 8
_MOST_ROWS = 3  # of one sentence
_RED, _GREEN, _DIM = "31", "32", "2"


def ended(event: events.Ended, why: events.Explained | None = None) -> bytes:
    """Return how a run ended, and `why` it failed, for stderr; coloured on a terminal of who likes that."""
    width = _width()
    colour = wants_colour(2)
    lines = [paint(row, width, colour=colour) for row in rows(event, why, width)]
    return b"".join(line.rstrip() + b"\n" for line in lines)


def rows(event: events.Ended, why: events.Explained | None, width: int) -> Iterator[Row]:
    """Return it for a terminal of `width` columns."""
    said = words.ended(event)
    colour = _GREEN if event.exit_code == 0 else _RED
    first = True
    for line in textwrap.wrap(printable(said), width - len(words.INDENT), subsequent_indent="  "):
        yield (("orch: " if first else words.INDENT, ""), (line, colour))
        first = False
    logs = words.short_path(event.folder / "logs")
    if why is None:
        yield ((f"{words.INDENT}logs: {logs}", ""),)
    else:
        yield from explained(why, width)
        yield (*_label("logs"), (logs, ""))


def explained(why: events.Explained, width: int) -> Iterator[Row]:
    """Return why a run failed, in rows for a terminal of `width` columns."""
    where = f"at {why.place}" if why.place else ""
    when = f"{words.lifetime(why.after)} after it began" if why.after is not None else ""
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
    if why.victims:
        count = words.count(len(why.victims), "rank")
        yield from _sentence("then", f"{count} ended: {ranks(why.victims)}", width)
    yield (*_label("more"), (why.command, "1"))


def _sentence(label: str, text: str, width: int, style: str = "") -> Iterator[Row]:
    """Return a sentence in a few rows; nothing of an empty one."""
    room = width - len(words.INDENT) - _LABEL
    wrapped = textwrap.wrap(printable(text), room, max_lines=_MOST_ROWS, placeholder=" …")
    for number, line in enumerate(wrapped):
        yield (*_label(label if number == 0 else ""), (line, style))


def _label(text: str) -> Row:
    return ((words.INDENT, ""), (f"{text and text + ':':<{_LABEL}}", _DIM))


def _width() -> int:
    try:
        return max(_NARROWEST, os.get_terminal_size(2).columns)
    except OSError:
        return _WIDTH
