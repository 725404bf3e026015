"""Show a diagnosis: causes in full, what followed from them in a line each, or JSON."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.api.diagnose import DiagnosedRun, Examination, ReadProgress
from orchestrator.diagnose import Certainty, Hit, Kind, Match, Signature
from orchestrator.diagnose.record import as_json
from orchestrator.diagnose.text import affected, location, raised_at
from orchestrator.ui import messages
from orchestrator.ui.table import labelled, stdout_size, write, write_json
from orchestrator.ui.terminal import Footer, Row, paint, wants_colour
from orchestrator.ui.verdict import where_looked
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import counted, format_size

MAX_CAUSES = 8
"""How many causes are shown in full without --all."""

_MAX_LOCATIONS = 64
_OTHER_LOGS = (
    "this only followed from a failure that these logs do not show: read the output of the other ranks and "
    "nodes too; if there is nothing, run again with NCCL_DEBUG=INFO and TORCH_DISTRIBUTED_DEBUG=DETAIL"
)
_MIN_WIDTH = 20
_INDENT = "  "
_GREEN, _DIM, _BOLD = "32", "2", "1"
_STYLES = {Kind.ROOT: "1;31", Kind.SYMPTOM: "1;33", Kind.CASCADE: "1;33"}
_FOLDED = {Kind.SYMPTOM: "also", Kind.CASCADE: "then", Kind.ROOT: "also"}


@dataclass(frozen=True)
class DiagnosisView:
    """A diagnosis; `run` is None for log files without a run."""

    examined: Examination
    run: DiagnosedRun | None = None
    left_out: tuple[str, ...] = ()

    @property
    def explains(self) -> bool:
        """Whether it has the cause of a failure."""
        if self.run is not None and self.run.succeeded:
            return False
        if self.run is not None and self.run.why is not None:
            return True
        best = self.examined.diagnosis.verdict
        return best is not None and (self.has_first_failure or best.kind is Kind.ROOT)

    @property
    def has_first_failure(self) -> bool:
        return self.run is None or self.run.has_first_failure


def show(view: DiagnosisView, output: str, *, everything: bool) -> None:
    """Write the diagnosis to stdout, wrapped to fit a terminal."""
    if output == "json":
        write_json(describe(view))
        return
    width = stdout_size()[0] or sys.maxsize
    colour = wants_colour(1)
    lines = (paint(row, width, colour=colour) for row in rows(view, width, everything=everything))
    write([line.decode().rstrip() for line in lines])


def describe(view: DiagnosisView) -> dict[str, Any]:
    """Return everything as one JSON object; it always has the same keys."""
    run = view.run
    return {
        "run": None if run is None else run.run,
        "attempt": None if run is None else run.attempt,
        "logs": None if run is None else str(run.logs),
        "files": list(view.examined.files),
        "bytes": view.examined.bytes,
        "left_out": [*view.left_out, *view.examined.problems],
        "looked": [] if run is None else list(run.looked),
        **as_json(view.examined.diagnosis),
    }


def rows(view: DiagnosisView, width: int, *, everything: bool = False) -> Iterator[Row]:
    """Return the diagnosis in rows for a terminal of `width` columns."""
    item = partial(labelled, width=width, indent=_INDENT)
    run = view.run
    if run is not None:
        attempt = f", attempt {run.attempt}" if run.attempt else ""
        yield from _wrapped(f"run {run.run}{attempt}: {run.summary}", width, "")
        if run.why is not None:
            yield from item("cause", run.why[0])
            yield from item("fix", run.why[1], style=_GREEN)
        yield ()
    full, short, hidden = _divide(view, everything)
    for hit in full:
        yield from _in_full(hit, view, width, everything)
        yield ()
    for hit in short:
        yield from labelled(_FOLDED[hit.kind], _in_short(hit, view), width)
    if short:
        yield ()
    if run is not None and run.looked:
        yield from item("looked", where_looked(run.looked), style=_DIM)
        yield ()
    best = view.examined.diagnosis.best
    if best is not None and best.kind is Kind.CASCADE and view.run is None:
        yield from _wrapped(_OTHER_LOGS, width, "")
        yield ()
    leads = view.examined.diagnosis.leads if not full and not short else ()
    if leads:
        yield from _wrapped("the last lines that look like errors:", width, _BOLD)
    for lead in leads:
        yield from item("seen", lead.text)
        yield from item("in", f"{_at(lead, view)}{_of_rank(lead)}", style=_DIM)
    if leads:
        yield ()
    yield from _wrapped(_files_read(view, bool(full or short), hidden), width, _DIM)
    if not full and (command := _last_lines(view)):
        yield from _wrapped(f"last lines: {command}", width, _DIM)


def _divide(
    view: DiagnosisView, everything: bool
) -> tuple[Sequence[Hit], Sequence[Hit], Sequence[Hit]]:
    """Return what to show in full, what in a line each, and what not at all."""
    hits = view.examined.diagnosis.hits
    if everything:
        return hits, (), ()
    found = [hit for hit in hits if hit.kind is not Kind.NOISE and not hit.recovered]
    recovered = [hit for hit in hits if hit.recovered]
    full = [
        hit
        for hit in found
        if hit.kind is Kind.ROOT or (hit is found[0] and view.has_first_failure)
    ][:MAX_CAUSES]
    if view.run is not None and view.run.succeeded:
        full = []
    rest = [hit for hit in found if hit not in full]
    hints = [hit for hit in rest if hit.kind is Kind.HINT]
    return full, [hit for hit in rest if hit.kind is not Kind.HINT], [*hints, *recovered]


def _in_short(hit: Hit, view: DiagnosisView) -> str:
    """Return what it is and who had it; not the file if only one was read."""
    is_clear = len(view.examined.files) == 1 and hit.sources == view.examined.files
    who = "" if is_clear and not hit.ranks and not hit.nodes else f" · {affected(hit)}"
    times = f", {hit.count} times" if hit.count > len(hit.matches) else ""
    after = f", after {hit.signature.after}" if hit.signature.after else ""
    return f"{hit.meaning}{who}{times}{after}"


def _in_full(hit: Hit, view: DiagnosisView, width: int, everything: bool) -> Iterator[Row]:
    first = hit.first
    item = partial(labelled, width=width, indent=_INDENT)
    sure = "" if hit.kind is not Kind.ROOT or hit.certainty is Certainty.CERTAIN else " (likely)"
    yield from _wrapped(f"{_in_short(hit, view)}{sure}", width, _STYLES.get(hit.kind, _BOLD))
    yield from item("seen", first.text)
    raised = _raised_at(hit, view)
    if first.place.line or raised:
        yield from item("in", f"{_at(first, view)}{raised}")
    if everything:
        others = [_at(match, view) for match in hit.matches[1:] if match.place.line]
        for other in others[:_MAX_LOCATIONS]:
            yield from item("", other)
        if len(others) > _MAX_LOCATIONS:
            yield from item("", f"and {len(others) - _MAX_LOCATIONS} more")
    yield from item("cause", hit.cause)
    yield from item("fix", hit.fix, style=_GREEN)
    if hit.orch_fix is not None:
        yield from item("orch", hit.orch_fix, style=_GREEN)
    if hit.signature.check is not None:
        yield from item("check", f"orch preflight --only {hit.signature.check}", style=_DIM)


def _of_rank(match: Match) -> str:
    return "" if match.place.rank is None else f", rank {match.place.rank}"


def _at(match: Match, view: DiagnosisView) -> str:
    """Return the file and line; only the name of what is not a file here, such as a kernel log."""
    return location(match) if match.place.source in view.examined.files else match.place.source


def _raised_at(hit: Hit, view: DiagnosisView) -> str:
    """Return the line that raised the error, its file relative to the working folder."""
    at = raised_at(hit.error) if hit.error else None
    for workdir in view.run.workdirs if view.run else ():
        at = at and at.removeprefix(f"{workdir}/")
    return f", raised at {at}" if at else ""


def _files_read(view: DiagnosisView, found: bool, hidden: Sequence[Hit]) -> str:
    examined = view.examined
    what = f"{counted(len(examined.files), 'file')}, {format_size(examined.bytes)}"
    if len(examined.files) == 1:
        what = f"{examined.files[0]}, {format_size(examined.bytes)}"
    text = f"read {what}" if found else f"no known problem in {what}"
    if view.run is not None:
        text += f", in {messages.short_path(view.run.logs)}"
    if hidden:
        text += f"; {counted(len(hidden), 'more hint')} with --all"
    return text


def _last_lines(view: DiagnosisView) -> str:
    """Return a command that shows the last lines; empty for empty files or what can be read only once."""
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


def _wrapped(text: str, width: int, style: str) -> Iterator[Row]:
    lines = textwrap.wrap(text, max(_MIN_WIDTH, width - len(_INDENT)), break_on_hyphens=False)
    for number, line in enumerate(lines):
        yield ((_INDENT if number else "", ""), (line, style))


def explain_signature(signature: Signature, output: str) -> None:
    """Write what a signature looks for, and what it means, to stdout."""
    if output == "json":
        write_json({**asdict(signature), "kind": signature.kind.name.lower()})
        return
    width = stdout_size()[0] or sys.maxsize
    item = partial(labelled, width=width, indent=_INDENT)
    rows: list[Row] = [*_wrapped(f"{signature.id}: {signature.meaning}", width, _BOLD)]
    rows += item("kind", signature.kind.name.lower())
    rows += item("cause", signature.cause)
    rows += item("fix", signature.fix, style=_GREEN)
    if signature.orch_fix is not None:
        rows += item("orch", signature.orch_fix, style=_GREEN)
    if signature.check is not None:
        rows += item("check", f"orch preflight --only {signature.check}", style=_DIM)
    for number, pattern in enumerate(signature.patterns):
        rows += item("" if number else "looks", pattern, style=_DIM)
    colour = wants_colour(1)
    write([paint(row, width, colour=colour).decode().rstrip() for row in rows])


class Progress:
    """Shows on stderr how much has been read, once it takes longer than a second."""

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
        text = f"orch: reading {counted(self._files, 'file')}: {format_size(reading.done)}{total}"
        if self._is_drawn:
            self._write(self._footer.frame(b"", lambda width, height: [((text, _DIM),)]))
        else:
            self._write(f"{text}\n".encode())

    def close(self) -> None:
        """Remove it from the terminal."""
        self._write(self._footer.frame(b"", None))

    def _write(self, data: bytes) -> None:
        if data:
            sys.stderr.buffer.write(data)
            sys.stderr.flush()
