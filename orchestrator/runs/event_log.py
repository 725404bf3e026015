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
from typing import Any

from orchestrator import events
from orchestrator.errors import OrchError
from orchestrator.logs.holes import next_data
from orchestrator.node.trust import open_file
from orchestrator.plan.masking import masked_text
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.old_records import renewed

_LONGEST = 4 << 20  # bytes of a line
# Output is in the logs, the plan in `run.json`; what holds for a moment only is in no log, nor is who uses
# the nodes, which is told before there is one.
_NOT_LOGGED = (
    events.Output, events.Planned, events.SyncAdvanced, events.FetchAdvanced, events.GpusSampled,
    events.NodesInUse,
)  # fmt: skip
_KINDS: dict[str, type[events.Event]] = {
    kind.__name__: kind for kind in events.Event.__subclasses__() if kind not in _NOT_LOGGED
}


@dataclass(frozen=True)
class LoggedEvent:
    """An event, and when it was told (the controller's clock)."""

    at: float
    event: events.Event


class EventLog:
    """Appends events to the log at `path`, as the only one who does."""

    def __init__(self, path: Path) -> None:
        self._descriptor = open_file(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND)
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
        self._passes_over = False  # the rest of a line that is too long

    def read(self) -> Iterator[LoggedEvent]:
        """Yield the events that were appended since the last call. Raises OrchError."""
        try:
            descriptor = open_file(str(self._path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise OrchError(
                f"what happened in the run cannot be read: {self._path}: {error.strerror}"
            ) from None
        with os.fdopen(descriptor, "rb") as file:
            file.seek(self._offset)
            while line := file.readline(_LONGEST):
                is_whole = line.endswith(b"\n")
                if not is_whole and len(line) < _LONGEST:
                    return  # torn, or being written
                self._offset += len(line)
                logged = _parse(line) if is_whole and not self._passes_over else None
                self._passes_over = not is_whole
                if self._passes_over:  # a hole has no lines, and may be of any length
                    size = os.fstat(file.fileno()).st_size
                    self._offset = max(self._offset, next_data(file.fileno(), self._offset, size))
                    file.seek(self._offset)
                if logged is not None:
                    yield logged


def _line(event: events.Event) -> bytes:
    said = {"at": time.time(), "event": type(event).__name__, **encode(event)}
    if not isinstance(
        event, events.Explained
    ):  # that has the words of a rank, which its logs have too
        said = _masked(said)
    return json.dumps(said).encode() + b"\n"


def _masked(said: Any) -> Any:
    """Return what an event says, without what looks like a secret in its texts."""
    if isinstance(said, dict):
        return {name: _masked(value) for name, value in said.items()}
    return masked_text(said) if isinstance(said, str) else said


def _parse(line: bytes) -> LoggedEvent | None:
    """Return the event of a line, or None: a torn one, or one of another version of orch."""
    try:
        said = json.loads(line)
        at, name = decode(float, said.pop("at")), said.pop("event")
        return LoggedEvent(at, decode(_KINDS[name], renewed(name, said)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
