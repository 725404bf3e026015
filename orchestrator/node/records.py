"""Read the records in a run's folder; one that is torn or invalid counts as missing.

Records are replaced all at once, and yet half of one may be there: the machine crashed, the disk was full,
or a script wrote into the folder. That must end neither the agent nor the supervisor, and what the agent
sends must be a record that the controller accepts.
"""

from __future__ import annotations

import math
import os
from typing import Any, Callable, Dict, Optional

from . import files

_STATES = ("running", "stopping", "ended")
_MAX_COUNT = 1 << 63
_MAX_TIME = 1e11  # seconds since the epoch


def status_path(directory: str) -> str:
    """Return the path of the supervisor's status of the run in `directory`."""
    return os.path.join(directory, "status.json")


def request_path(directory: str) -> str:
    """Return the path of the request to stop the run in `directory`."""
    return os.path.join(directory, "stop.json")


def read_status(directory: str) -> Optional[Dict[str, Any]]:
    """Return the supervisor's status, or None. Raises OSError if there is a file that cannot be read."""
    status = files.read_json(status_path(directory))
    if (
        _has(status, "state", "pid", "start", "launcher", "left")
        and status["state"] in _STATES
        and is_count(status["pid"])
        and is_count(status["start"])
        and (status["launcher"] is None or _is_process(status["launcher"]))
        and isinstance(status["left"], list)
        and all(is_count(pid) for pid in status["left"])
        and isinstance(status.get("stopped"), (str, type(None)))
        and (status.get("stopped_detail") is None or _is_detail(status["stopped_detail"]))
        and (status.get("stopped_at") is None or is_time(status["stopped_at"]))
        and (status.get("attempt") is None or is_count(status["attempt"]))
        and (status.get("behind") is None or _is_behind(status["behind"]))
    ):
        return dict(status)
    return None


def read_rank(path: str) -> Optional[Dict[str, Any]]:
    """Return the record of one rank, or None. Raises OSError if there is a file that cannot be read."""
    record = files.read_json(path)
    if (
        _has(record, "rank", "local_rank", "attempt")
        and all(is_count(record[key]) for key in ("rank", "local_rank", "attempt"))
        and is_count(record.get("world_size", 0))
        and _is_process(record)
        and is_time(record["started"])
    ):
        return dict(record)
    return None


def try_read(
    read: Callable[[str], Optional[Dict[str, Any]]], path: str
) -> Optional[Dict[str, Any]]:
    """Return what `read` does, and None if the file cannot be read: for callers that continue anyway."""
    try:
        return read(path)
    except OSError:
        return None


def read_request(directory: str) -> Optional[Dict[str, Any]]:
    """Return the request to stop, {"grace": seconds, "reason": id, "detail": {...}}, or None."""
    request = files.read_json(request_path(directory))
    if (
        _has(request, "grace", "reason")
        and _is_number(request["grace"])
        and isinstance(request["reason"], str)
        and _is_detail(request.get("detail", {}))
    ):
        return dict({"detail": {}}, **request)
    return None


def _is_process(record: Any) -> bool:
    """Return whether it is a process that runs, or one that ended with an exit code or by a signal."""
    if not _has(record, "pid", "started", "ended", "code", "signal") or not is_count(record["pid"]):
        return False
    if record["ended"] is None:
        return record["code"] is None and record["signal"] is None
    code, number = record["code"], record["signal"]
    return (
        is_time(record["ended"])
        and (code is None) != (number is None)
        and (is_count(number, 128) if code is None else is_count(code, 256))
    )


def _is_behind(value: Any) -> bool:
    """Return whether it is what `leftovers.py` reports."""
    return (
        _has(value, "processes", "limit", "ended")
        and isinstance(value["processes"], list)
        and all(_is_named(entry) for entry in value["processes"])
        and _is_number(value["limit"])
        and isinstance(value["ended"], bool)
    )


def _is_detail(value: Any) -> bool:
    """Return whether it can be the detail of a reason to stop (`reasons.py`)."""
    return isinstance(value, dict) and all(_is_part(key, part) for key, part in value.items())


def _is_part(key: str, value: Any) -> bool:
    if key in ("node", "text", "because"):
        return isinstance(value, str)
    if key == "seconds":
        return is_time(value)
    return key in ("signal", "pid") and is_count(value, 127 if key == "signal" else _MAX_COUNT)


def _is_named(entry: Any) -> bool:
    is_pair = isinstance(entry, list) and len(entry) == 2
    return is_pair and is_count(entry[0]) and isinstance(entry[1], str)


def _has(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and all(key in value for key in keys)


def is_count(value: Any, end: int = _MAX_COUNT) -> bool:
    """Return whether it is an int from 0 to below `end`, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


def is_time(value: Any) -> bool:
    """Return whether it is a time, in seconds since the epoch."""
    return _is_number(value) and 0 <= value < _MAX_TIME


def _is_number(value: Any) -> bool:
    return is_count(value) or (isinstance(value, float) and math.isfinite(value))
