"""A run's `events.jsonl`: what happened, one event a line, only ever appended to.

The end of the file may be torn (a crash, a full disk); who reads passes over what is no event.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from orchestrator import events
from orchestrator.runs.plain import parse, plain

# Output is in the logs, the plan in `run.json`.
_NOT_LOGGED = (events.Output, events.Planned, events.SyncAdvanced)
_KINDS: dict[str, type[events.Event]] = {
    kind.__name__: kind for kind in get_args(events.Event) if kind not in _NOT_LOGGED
}


@dataclass(frozen=True)
class Logged:
    """An event, and when it was told (the controller's clock)."""

    at: float
    event: events.Event


class EventLog:
    """Appends events to the log at `path`, as the only one who does."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, event: events.Event) -> None:
        """Write one event, in one write if it can be. Raises OSError; then it is not there, or torn."""
        if isinstance(event, _NOT_LOGGED):
            return
        rest = memoryview(b"\n" + _line(event) if self._torn else _line(event))
        self._torn = True
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._torn = False

    def close(self) -> None:
        os.close(self._descriptor)


class EventReader:
    """Reads the log at `path` as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[Logged]:
        """Yield the events that were appended since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for line in data[:whole].splitlines():
            logged = _parse(line)
            if logged is not None:
                yield logged


def _line(event: events.Event) -> bytes:
    said = {"at": time.time(), "event": type(event).__name__, **plain(event)}
    return json.dumps(said).encode() + b"\n"


def _parse(line: bytes) -> Logged | None:
    """Return the event of a line, or None: a torn one, or one of another version of orch."""
    try:
        said = json.loads(line)
        at, kind = parse(float, said.pop("at")), _KINDS[said.pop("event")]
        return Logged(at, parse(kind, said))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
