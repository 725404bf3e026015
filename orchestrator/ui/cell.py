"""A run in the cell of a notebook: one HTML output that is updated in place, without widgets.

It shows the status of the run, the last lines of rank 0 and the latest warnings. Its size is bounded: the
whole output is in the run's logs. IPython is used where it runs, and is no dependency.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any
from uuid import uuid4

from orchestrator import events
from orchestrator.api.status import known_status
from orchestrator.errors import OrchError
from orchestrator.logs.log_line import LineSplitter, LogLine
from orchestrator.logs.sanitize import as_seen
from orchestrator.ui import messages
from orchestrator.ui.html import DIM, WARNING, Content, block, bold, document, line, text
from orchestrator.ui.html_run import status_html
from orchestrator.ui.status import lines as status_lines
from orchestrator.util.text import counted, format_size

_MIN_INTERVAL = 0.4  # seconds between two updates
_MAX_SHARE = 0.1  # of the time, which rendering takes
_MAX_LINES = 20
_MAX_LINE = 500  # characters
_MAX_NOTICES = 5

Bundle = dict[str, str]
"""One output: texts by MIME type."""

Publish = Callable[[Bundle, bool], None]
"""Shows the output, or (True) replaces it."""


def in_kernel() -> bool:
    """Tell whether the kernel of a notebook runs this, which shows HTML; IPython in a terminal does not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def publisher() -> Publish:
    """Return what shows one output in the current cell of this kernel."""
    from importlib import import_module

    display: Any = import_module("IPython.display")
    name = f"orch-{uuid4().hex}"

    def publish(bundle: Bundle, update: bool) -> None:
        display.display(bundle, raw=True, display_id=name, update=update)

    return publish


class CellDisplay:
    """Shows a run as it is called with its events, for a `with` block; returns at once.

    A thread renders what is new, at most a few times a second; at the end, the last state is shown.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._lock = threading.Lock()
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="orch display", daemon=True)
        self._run: events.Started | None = None
        self._phase = "starting"
        self._done: set[str] = set()
        self._nodes = 0
        self._sent: dict[str, tuple[int, int]] = {}
        self._splitter = LineSplitter()
        self._lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._count = 0
        self._notices: deque[str] = deque(maxlen=_MAX_NOTICES)

    def __enter__(self) -> CellDisplay:
        self._publish(self._bundle(), False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._closing.set()
        self._news.set()
        self._thread.join()
        with self._lock:
            self._add(self._splitter.close())
            if self._run is None and error is not None:
                self._phase = "not started"
        self._publish(self._bundle(), True)

    def __call__(self, event: events.Event) -> None:
        with self._lock:
            self._update(event)
        self._news.set()

    def _update(self, event: events.Event) -> None:
        if (notice := messages.notice(event)) is not None:
            self._notices.append(notice[0])
        match event:
            case events.PhaseBegan():
                self._phase, self._nodes = event.phase, len(event.nodes)
                self._done.clear()
            case events.PhaseAdvanced():
                self._done.add(event.node)
            case events.SyncAdvanced():
                self._sent[event.node] = (event.sent, event.total)
            case events.Started():
                self._run = event
            case events.Output() if event.stream.rank == 0:
                self._add(self._splitter.feed(event.stream, event.data, event.time))
            case events.Detached():
                self._notices.append(messages.detached(event))

    def _add(self, printed: Sequence[LogLine]) -> None:
        self._count += len(printed)
        for each in printed[-_MAX_LINES:]:
            shown = as_seen(each.text.encode(errors="surrogateescape"))
            self._lines.append(shown if len(shown) <= _MAX_LINE else f"{shown[:_MAX_LINE]}…")

    def _serve(self) -> None:
        pause = _MIN_INTERVAL
        while not self._closing.wait(pause):
            self._news.wait()
            self._news.clear()
            if self._closing.is_set():
                return
            began = time.monotonic()
            self._publish(self._bundle(), True)
            pause = max(_MIN_INTERVAL, (time.monotonic() - began) / _MAX_SHARE)

    def _bundle(self) -> Bundle:
        with self._lock:
            run, lines, count = self._run, list(self._lines), self._count
            notices, progress = list(self._notices), self._progress()
        below: list[Content] = [line(text(notice, WARNING)) for notice in notices]
        if lines:
            left = count - len(lines)
            command = f"orch logs {run.run if run is not None else ''} --rank 0"
            hidden = f", {counted(left, 'line')} above: {command}" if left else ""
            below += [line(text(f"rank 0{hidden}", DIM)), block(lines)]
        try:
            status = known_status(run.folder) if run is not None else None
            if status is not None:
                plain = status_lines(status, time.time())
                return {
                    "text/html": status_html(status, *below),
                    "text/plain": "\n".join([*plain, *notices, *lines]),
                }
        except (
            OrchError,
            OSError,
        ) as error:  # it was removed, or the disk fails: tell so, continue
            below.insert(0, line(text(str(error), WARNING)))
        head = line(bold("orch"), f": {progress}")
        return {"text/html": document(head, *below), "text/plain": f"orch: {progress}"}

    def _progress(self) -> str:
        """Return how far the launch is: `connect, 2 of 3 nodes`."""
        if self._run is not None:
            return f"run {self._run.run}"
        parts = [self._phase]
        if self._nodes > 1:
            parts.append(f"{len(self._done)} of {counted(self._nodes, 'node')}")
        if self._sent and self._phase == "sync":
            sent, total = (sum(column) for column in zip(*self._sent.values(), strict=True))
            parts.append(f"{format_size(sent)} of {format_size(total)}")
        return ", ".join(parts)
