"""Where runs are kept on this machine, and how a file there is replaced without ever showing half of it.

A run's folder has `run.json` (what it is and how it ended), `events.jsonl` (what happened), `logs/` (the
copies of the ranks' output), `files/` where spares may come (a copy of what was launched), and while it is
controlled `controller.lock` (`lock.py`), `controller.log` and `stop.json` (`stop_request.py`).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

import platformdirs

from orchestrator.errors import LaunchError
from orchestrator.logs.holes import disk_usage
from orchestrator.node import trust

RUN, EVENTS, LOGS = "run.json", "events.jsonl", "logs"
FILES = "files"
CONTROLLER_LOG = "controller.log"
_LARGEST = 64 << 20  # bytes of a file of JSON; the record of 1000 nodes has 5 MiB


def state_folder() -> Path:
    """Return orch's state folder on this machine ($XDG_STATE_HOME/orch)."""
    return Path(platformdirs.user_state_dir("orch"))


def runs_folder() -> Path:
    """Return the folder that holds a folder for each run."""
    return state_folder() / "runs"


def ensure_private_folder(folder: Path, top: Path | None = None, *, create: bool = True) -> None:
    """Make sure that nobody else can have put anything into `folder`; make it where it is missing.

    `top` is the first folder of orch on the way to it (None: its state folder), made with mode 0700, as
    all that is missing. Raises LaunchError, with the remedy, where somebody else owns it, or one above it,
    or can write there; else OSError (FileNotFoundError where it is not to be made).
    """
    try:
        trust.own_folder(str(folder), str(top or state_folder()), create=create)
    except trust.Untrusted as error:
        raise LaunchError(
            f"orch keeps nothing in {folder}, and reads nothing there: {error.path} {error.why}",
            remedy=f"{error.remedy}; or name another place with XDG_STATE_HOME",
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Replace the file at `path` with `value` as JSON, all at once; readable by its owner only.

    Raises OSError; then it is as it was.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
        temporary.replace(path)
    except BaseException:  # a full disk, say
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """Return the JSON at `path`; None where there is none, or none that can be read."""
    try:
        return load_json(path)
    except (OSError, ValueError):
        return None


def load_json(path: Path, *, own: bool = False) -> Any:
    """Return the JSON in a regular file; with `own`, of one that nobody else can have written.

    Raises OSError (trust.Untrusted is one), and ValueError for what is no JSON, or larger than 64 MiB.
    """
    with os.fdopen(trust.open_file(str(path), own=own), "rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def size_of(folder: Path) -> int:
    """Return how many bytes of data the files below `folder` have; 0 where there is no such folder."""
    size = 0
    for path, _, names in os.walk(folder):  # which passes over folders that go while it looks
        for name in names:
            with suppress(FileNotFoundError):  # so did a file
                status = (Path(path) / name).lstat()
                size += disk_usage(status) if S_ISREG(status.st_mode) else 0
    return size
