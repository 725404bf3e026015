"""Where orch keeps its files on a node, and how it replaces one without ever showing half of it."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from typing import Any, List

_RESERVE = "reserve"
_ATTEMPT = re.compile(r"attempt-(0|[1-9][0-9]{0,8})\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def state_root() -> str:
    """Return orch's state folder of this user on this node (the same for every node of a shared home)."""
    return os.path.join(os.path.expanduser("~"), ".local", "state", "orch")


def run_directory(run: str, node: str) -> str:
    """Return the folder of `run` on `node`; nodes that share a home have a folder each.

    Raises ValueError for a name that is not one path component.
    """
    for name in (run, node):
        if not _NAME.match(name):
            raise ValueError("not a name: {!r}".format(name))
    return os.path.join(state_root(), "runs", run, node)


def attempt_name(attempt: int) -> str:
    """Return the name of the folder that holds the log files of one attempt (from 0)."""
    return "attempt-{:d}".format(attempt)


def attempts(directory: str, first: int) -> List[int]:
    """Return the numbers of the attempts from `first` on that have a folder in that of a run, in order."""
    try:
        matches = [_ATTEMPT.match(name) for name in os.listdir(directory)]
    except OSError:
        return []  # a script has removed it
    numbers = sorted(int(match.group(1)) for match in matches if match is not None)
    return [number for number in numbers if number >= first]


def open_log(path: str) -> int:
    """Open a log file for appending, readable by its owner only; return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def write_json(path: str, value: Any) -> None:
    """Replace the file at `path` with `value` as JSON, all at once."""
    temporary = "{}.{}.tmp".format(path, os.getpid())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(temporary, path)


def set_room_aside(directory: str) -> None:
    """Take room on the disk for a run's last words, for the case that the disk is full by then."""
    path = os.path.join(directory, _RESERVE)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(bytes(1 << 16))
    except OSError:
        os.unlink(path)  # half of it is no room to count on
        raise


def has_room_aside(directory: str) -> bool:
    """Tell whether the room is still there, which it is until the disk was full."""
    return os.path.exists(os.path.join(directory, _RESERVE))


def try_to_write_json(path: str, value: Any, patience: float) -> bool:
    """Do as `write_json`, for up to `patience` seconds; return whether it was written.

    For those who have more to do than to write: a full disk or a folder that a script has removed must
    not keep them from it. A folder that is gone is made again; a full disk gets the room back that was
    set aside.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            write_json(path, value)
            return True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and _give_room_back(path):
                continue
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.5)


def _give_room_back(path: str) -> bool:
    """Remove what was set aside in the run's folder, one or two above `path`; False if it is gone."""
    folder = os.path.dirname(path)
    for place in (folder, os.path.dirname(folder)):
        try:
            os.unlink(os.path.join(place, _RESERVE))
            return True
        except OSError:
            continue
    return False


def remove(path: str) -> None:
    """Remove the file at `path`, if there is one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def read_json(path: str) -> Any:
    """Return the JSON at `path`, or None where there is no such file, or none that is whole.

    Raises OSError where there is one that cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        return None  # torn by a crash or a full disk, or a script wrote it
