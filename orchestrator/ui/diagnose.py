"""Show what was found in logs: causes in full, what followed from them in a line each, or all as JSON."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.api.diagnose import Examination, ReadProgress
from orchestrator.diagnose import Hit, Kind, Match
from orchestrator.diagnose.record import as_json
from orchestrator.diagnose.text import affected, location, raised_at
from orchestrator.ui import messages
from orchestrator.ui.table import stdout_size, write
from orchestrator.ui.terminal import Footer, Row, paint, wants_colour
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import counted, format_size

MAX_TOLD = 8
"""So many causes are told in full, unless all is asked for."""

_MOST_PLACES = 64
_LABEL = 8
_INDENT = "  "
_GREEN, _DIM, _BOLD = "32", "2", "1"
_STYLES = {Kind.ROOT: "1;31", Kind.SYMPTOM: "1;33", Kind.CASCADE: "1;33"}
_FOLDED = {Kind.SYMPTOM: "also:", Kind.CASCADE: "then:", Kind.ROOT: "also:"}


@dataclass(frozen=True)
class DiagnosedRun:
    """What is said of a run besides what its logs tell: how it ended, and where they are.

    `last_lines` is the command that shows their last lines, `workdirs` where its nodes have the script.
    `why` are a cause and a remedy that its record has, and logs cannot tell, as of a node that vanished.
    Without a culprit the run was stopped, by a person or for its own sake, and the summary says why; what
    its ranks say of that is no cause.
    """

    run: str
    attempt: int
    summary: str
    logs: Path
    last_lines: str | None
    workdirs: tuple[str, ...]
    why: tuple[str, str] | None = None
    has_culprit: bool = True
    succeeded: bool = False


@dataclass(frozen=True)
class DiagnosisView:
    """What there is to show; `run` is None for files."""

    examined: Examination
    run: DiagnosedRun | None = None
    left_out: tuple[str, ...] = ()

    @property
    def explains(self) -> bool:
        """Whether it tells what made something fail."""
        if self.run is not None and self.run.succeeded:
            return False
        if self.run is not None and self.run.why is not None:
            return True
        best = self.examined.diagnosis.verdict
        has_culprit = self.run is None or self.run.has_culprit
        return best is not None and (has_culprit or best.kind is Kind.ROOT)


def show(view: DiagnosisView, output: str, *, everything: bool) -> None:
    """Write it to stdout: for people in lines that fit their terminal, whole ones in a pipe."""
    if output == "json":
        write([json.dumps(describe(view), indent=2)])
        return
    width = stdout_size()[0] or sys.maxsize
    colour = wants_colour(1)
    told = (paint(row, width, colour=colour) for row in rows(view, width, everything=everything))
    write([line.decode().rstrip() for line in told])


def describe(view: DiagnosisView) -> dict[str, Any]:
    """Return it as one JSON object, nothing left out; it always has the same keys."""
    run = view.run
    return {
        "run": None if run is None else run.run,
        "attempt": None if run is None else run.attempt,
        "logs": None if run is None else str(run.logs),
        "files": list(view.examined.files),
        "bytes": view.examined.bytes,
        "left_out": [*view.left_out, *view.examined.problems],
        **as_json(view.examined.diagnosis),
    }


def rows(view: DiagnosisView, width: int, *, everything: bool = False) -> Iterator[Row]:
    """Return it for a terminal of `width` columns."""
    run = view.run
    if run is not None:
        attempt = f", attempt {run.attempt}" if run.attempt else ""
        yield from _wrapped(f"run {run.run}{attempt}: {run.summary}", width, "")
        if run.why is not None:
            yield from _labelled("cause:", run.why[0], width)
            yield from _labelled("fix:", run.why[1], width, _GREEN)
        yield ()
    full, short, hidden = _sorted(view, everything)
    for hit in full:
        yield from _in_full(hit, view, width, everything)
        yield ()
    for hit in short:
        yield from _labelled(_FOLDED[hit.kind], _in_short(hit, view), width, indent="")
    if short:
        yield ()
    yield from _wrapped(_looked_at(view, bool(full or short), hidden), width, _DIM)
    if not full and (command := _last_lines(view)):
        yield from _wrapped(f"the last lines: {command}", width, _DIM)


def _sorted(
    view: DiagnosisView, everything: bool
) -> tuple[Sequence[Hit], Sequence[Hit], Sequence[Hit]]:
    """Return what to tell in full, what in a line each, and what not at all."""
    hits = view.examined.diagnosis.hits
    if everything:
        return hits, (), ()
    found = [hit for hit in hits if hit.kind is not Kind.NOISE]
    has_culprit = view.run is None or view.run.has_culprit
    full = [h for h in found if h.kind is Kind.ROOT or (h is found[0] and has_culprit)][:MAX_TOLD]
    if view.run is not None and view.run.succeeded:
        full = []
    rest = [hit for hit in found if hit not in full]
    hints = [hit for hit in rest if hit.kind is Kind.HINT]
    return full, [hit for hit in rest if hit.kind is not Kind.HINT], hints


def _in_short(hit: Hit, view: DiagnosisView) -> str:
    """Return what it is and who had it: not the file, where only one was looked at."""
    is_clear = len(view.examined.files) == 1 and hit.sources == view.examined.files
    who = "" if is_clear and not hit.ranks and not hit.nodes else f" · {affected(hit)}"
    times = f", {hit.count} times" if hit.count > len(hit.matches) else ""
    after = f", after {hit.signature.after}" if hit.signature.after else ""
    return f"{hit.meaning}{who}{times}{after}"


def _in_full(hit: Hit, view: DiagnosisView, width: int, everything: bool) -> Iterator[Row]:
    first = hit.first
    yield from _wrapped(_in_short(hit, view), width, _STYLES.get(hit.kind, _BOLD))
    yield from _labelled("seen:", first.text, width)
    raised = _raised_at(hit, view)
    if first.place.line or raised:
        yield from _labelled("in:", f"{_at(first, view)}{raised}", width)
    if everything:
        others = [_at(match, view) for match in hit.matches[1:] if match.place.line]
        for other in others[:_MOST_PLACES]:
            yield from _labelled("", other, width)
        if len(others) > _MOST_PLACES:
            yield from _labelled("", f"and {len(others) - _MOST_PLACES} more", width)
    yield from _labelled("cause:", hit.cause, width)
    yield from _labelled("fix:", hit.fix, width, _GREEN)
    if hit.signature.check is not None:
        yield from _labelled("check:", f"orch preflight --only {hit.signature.check}", width, _DIM)


def _at(match: Match, view: DiagnosisView) -> str:
    """Return the file and line; of what is no file here, such as a node's kernel log, its name."""
    return location(match) if match.place.source in view.examined.files else match.place.source


def _raised_at(hit: Hit, view: DiagnosisView) -> str:
    """Return the line that raised it, the file as it is called in the job's folder."""
    at = raised_at(hit.error) if hit.error else None
    for workdir in view.run.workdirs if view.run else ():
        at = at and at.removeprefix(f"{workdir}/")
    return f", raised at {at}" if at else ""


def _looked_at(view: DiagnosisView, found: bool, hidden: Sequence[Hit]) -> str:
    examined = view.examined
    what = f"{counted(len(examined.files), 'file')}, {format_size(examined.bytes)}"
    if len(examined.files) == 1:
        what = f"{examined.files[0]}, {format_size(examined.bytes)}"
    said = f"looked at {what}" if found else f"nothing known in {what}"
    if view.run is not None:
        said += f", in {messages.short_path(view.run.logs)}"
    if hidden:
        said += f"; {counted(len(hidden), 'hint')} more with --all"
    return said


def _last_lines(view: DiagnosisView) -> str:
    """Return a command that shows them; none for what only comes once, or has no line."""
    if view.run is not None:
        return view.run.last_lines or f"{line_to_paste(['tail', str(view.run.logs)])}/*/*/*"
    files = [name for name in view.examined.files if Path(name).is_file()]
    if not files or not view.examined.bytes:
        return ""
    if len(files) > 1:
        return "tail FILE..."
    if files[0].endswith(".gz"):
        return f"{line_to_paste(['zcat', files[0]])} | tail"
    return line_to_paste(["tail", files[0]])


def _labelled(
    label: str, text: str, width: int, style: str = "", indent: str = _INDENT
) -> Iterator[Row]:
    """Return a text beside its label, in as many rows as it takes."""
    for number, line in enumerate(_lines(text, width - len(indent) - _LABEL)):
        yield ((f"{indent}{label if number == 0 else '':<{_LABEL}}", _DIM), (line, style))


def _wrapped(text: str, width: int, style: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(text, width - len(_INDENT))):
        yield ((_INDENT if number else "", ""), (line, style))


def _lines(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, max(20, room), break_on_hyphens=False) or [""]


class Progress:
    """Says on stderr how far the reading has come, once it takes longer than a second."""

    def __init__(self, files: int) -> None:
        self._files = files
        self._next = time.monotonic() + 1.0
        self._footer = Footer(2)
        self._is_drawn = sys.stderr.isatty()

    def __call__(self, reading: ReadProgress) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.2 if self._is_drawn else float("inf")
        total = "" if reading.total is None else f" of {format_size(reading.total)}"
        said = f"orch: reading {counted(self._files, 'file')}: {format_size(reading.done)}{total}"
        if self._is_drawn:
            self._write(self._footer.frame(b"", lambda width, height: [((said, _DIM),)]))
        else:
            self._write(f"{said}\n".encode())

    def close(self) -> None:
        """Leave nothing of it on the terminal."""
        self._write(self._footer.frame(b"", None))

    def _write(self, data: bytes) -> None:
        if data:
            sys.stderr.buffer.write(data)
            sys.stderr.flush()
