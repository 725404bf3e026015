"""Render the events of a launch: what the ranks print to stdout, everything about the doing to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from orchestrator import events
from orchestrator.logs.harmless import harmless
from orchestrator.logs.select import RankSet
from orchestrator.logs.stream import Stream
from orchestrator.plan import Plan
from orchestrator.process import silence
from orchestrator.ui import words
from orchestrator.ui.display import Display, Lines
from orchestrator.ui.phases import Phases

OutputFormat = Literal["text", "json", "raw"]

# Told apart on dark and on light terminals alike; red is left to what went wrong.
NODE_COLOURS = (b"36", b"32", b"35", b"33", b"34", b"96", b"92", b"95", b"93", b"94")


@dataclass(frozen=True)
class View:
    """How output is shown: its format, the ranks to show (None: all, and the launchers)."""

    output: OutputFormat = "text"
    ranks: RankSet | None = None
    timestamps: bool = False


class Console:
    """Hears events and shows them; `close` returns when all output is written."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._stderr = Stderr()
        self._phases = Phases(self._stderr.is_terminal)
        self._display: Display | None = None
        self._plan: Plan | None = None
        self._failed = False
        self._ended: events.Ended | None = None

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Output():
                self._show(event)
            case events.PhaseBegan():
                self._phases.begin(event.phase, event.nodes)
            case events.PhaseAdvanced():
                self._phases.advance(event.phase, event.node, event.succeeded)
            case events.SyncAdvanced():
                self._phases.sync(event.node, event.sent, event.total)
            case events.PhaseEnded():
                self._phases.end(event.phase, event.seconds, event.detail)
            case events.Planned():
                self._plan = event.plan
                self._phases.say(words.header(event.plan))
            case events.Started():
                self._phases.close()
                self._stderr.line(self._phases.summary())
            case events.RankEnded():
                if event.code != 0 and not self._failed:  # the others' ends follow from it
                    self._failed = True
                    self._stderr.line(words.rank_ended(event), "red")
            case events.Stopping():
                self._failed = True
                self._stderr.line(words.stopping(event), "yellow")
            case events.NodeLost():
                self._stderr.line(words.node_lost(event), "yellow")
            case events.NodeBack():
                self._stderr.line(f"{event.node}: connected again", "green")
            case events.Warned():
                self._stderr.line(f"warning: {event.message}", "yellow")
            case events.Ended():
                self._ended = event  # said by `close`, after the last output

    def close(self) -> None:
        """Leave the terminal as it was, with everything written, however long stdout takes for it."""
        self._phases.close()
        try:
            if self._display is not None:
                self._display.close()
                self._display = None
        finally:
            if self._ended is not None:
                colour = "green" if self._ended.exit_code == 0 else "red"
                self._stderr.line(words.ended(self._ended), colour)
                self._ended = None

    def _show(self, event: events.Output) -> None:
        if self._failed and event.stream.rank is None and self._view.output == "text":
            return  # a launcher's account of how its ranks ended: it is in its log
        if self._view.ranks is not None and event.stream.rank not in self._view.ranks:
            return
        if self._display is None:
            self._display = Display(self._lines(), _target(self._view.output), self._report_broken)
        self._display.show(event)

    def _report_broken(self, error: OSError) -> None:
        self._stderr.line(
            f"warning: nobody reads the output any more ({error.strerror}); the run goes on, "
            "its logs are kept",
            "yellow",
        )

    def _lines(self) -> Lines:
        if self._view.output == "json":
            from orchestrator.logs.json_lines import JsonLines

            return JsonLines()
        if self._view.output == "raw":
            return _Raw()
        from orchestrator.logs.lines import TextLines

        terminal = os.isatty(1)
        return TextLines(
            _prefixer(self._plan, terminal and not os.environ.get("NO_COLOR")),
            "terminal" if terminal else "pipe",
            timestamps=self._view.timestamps,
        )


class Stderr:
    """Lines about the doing, on stderr; coloured on a terminal unless NO_COLOR is set."""

    _SGR = {"red": "31", "green": "32", "yellow": "33"}  # noqa: RUF012

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self._colour = self.is_terminal and not os.environ.get("NO_COLOR")
        self._heard = True

    def line(self, text: str, colour: str | None = None) -> None:
        """Write one line (or a few), at once. Nobody reading it any more is no reason to fail."""
        text = harmless(text.encode()).decode()  # a node's own words may be in it
        if self._colour and colour is not None:
            text = f"\x1b[{self._SGR[colour]}m{text}\x1b[0m"
        if self._heard:
            try:
                sys.stderr.write(f"orch: {text}\n")
                sys.stderr.flush()
            except OSError:
                self._heard = False
                silence(2)


class _Raw:
    """The bytes as they are."""

    waiting = False

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        return chunk

    def flush(self, now: float) -> bytes:
        return b""

    def close(self) -> bytes:
        return b""


def _target(output: OutputFormat) -> Callable[[Stream], int]:
    """Return which descriptor a stream goes to: raw output keeps the ranks' two apart."""
    if output == "raw":
        return lambda stream: 1 if stream.channel == "stdout" else 2
    return lambda stream: 1


def _prefixer(plan: Plan | None, colour: bool) -> Callable[[Stream], bytes]:
    from orchestrator.logs.prefix import Widths, prefix

    names = [node.name for node in plan.nodes] if plan is not None else []
    widths = Widths.of(names, plan.world_size if plan is not None else 1)
    colours = {name: NODE_COLOURS[index % len(NODE_COLOURS)] for index, name in enumerate(names)}
    return lambda stream: prefix(stream, widths, colours.get(stream.node) if colour else None)
