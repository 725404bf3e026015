"""The event log of a run, `events.jsonl`: one event per line, only appended to.

A crash or a full disk may cut off the last line; readers skip lines that are not events.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.errors import OrchError
from orchestrator.logs.holes import next_data
from orchestrator.node.trust import open_file
from orchestrator.plan.masking import masked_text
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.old_records import renewed

_MAX_LINE = 4 << 20  # bytes
_LONGEST_NAME = 64
# Output is in the logs, and the plan in `run.json`. Progress is transient, and the runs that use the
# nodes are reported before the log exists.
_NOT_LOGGED = (
    events.Output, events.Planned, events.SyncAdvanced, events.FetchAdvanced, events.GpusSampled,
    events.NodesInUse,
)  # fmt: skip
_KINDS: dict[str, type[events.Event]] = {
    kind.__name__: kind for kind in events.Event.__subclasses__() if kind not in _NOT_LOGGED
}


@dataclass(frozen=True)
class LoggedEvent:
    """An event, and when it was emitted (the controller's clock)."""

    at: float
    event: events.Event


class EventLog:
    """Appends events to the log at `path`; there must be only one writer."""

    def __init__(self, path: Path) -> None:
        self._descriptor = open_file(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, event: events.Event) -> None:
        """Write one event, with one write if possible. Raises OSError; then it is missing or torn."""
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
        self._skips = False  # the rest of an overlong line

    def read(self) -> Iterator[LoggedEvent]:
        """Yield the events that were appended since the last call. Raises OrchError."""
        try:
            descriptor = open_file(str(self._path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise OrchError(
                f"the event log cannot be read: {self._path}: {error.strerror}"
            ) from None
        with os.fdopen(descriptor, "rb") as file:
            file.seek(self._offset)
            while line := file.readline(_MAX_LINE):
                is_whole = line.endswith(b"\n")
                if not is_whole and len(line) < _MAX_LINE:
                    return  # torn, or still being written
                self._offset += len(line)
                logged = _parse(line) if is_whole and not self._skips else None
                self._skips = not is_whole
                if self._skips:  # a hole can be of any length and has no lines
                    size = os.fstat(file.fileno()).st_size
                    self._offset = max(self._offset, next_data(file.fileno(), self._offset, size))
                    file.seek(self._offset)
                if logged is not None:
                    yield logged


def _line(event: events.Event) -> bytes:
    value = {"at": time.time(), "event": type(event).__name__, **encode(event)}
    # An explanation quotes the output of a rank, which the logs have too.
    if not isinstance(event, events.Explained):
        value = _masked(value)
    return json.dumps(value).encode() + b"\n"


def _masked(value: Any) -> Any:
    """Return a value without the parts of its texts that look like secrets."""
    if isinstance(value, dict):
        return {name: _masked(each) for name, each in value.items()}
    if not isinstance(value, str):
        return value
    return _masked_name(value) if len(value) <= _LONGEST_NAME else masked_text(value)


@lru_cache(maxsize=4096)
def _masked_name(text: str) -> str:
    """Return a short text masked: names of nodes and states are in most events."""
    return masked_text(text)


def _parse(line: bytes) -> LoggedEvent | None:
    """Return the event of a line, None if it is torn or of another version of orch."""
    try:
        value = json.loads(line)
        at, name = decode(float, value.pop("at")), value.pop("event")
        return LoggedEvent(at, decode(_KINDS[name], renewed(name, value)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
