"""The folders of runs on this machine, and how files there are read and replaced atomically.

A run's folder has `run.json` (the plan and how it ended), `events.jsonl` (the event log), `logs/` (copies
of the ranks' output), `files/` if there are spares (a copy of the launched files), and while it is
controlled `controller.lock` (`lock.py`), `controller.log` and `stop.json` (`stop_request.py`). If it calls
a function, `call/` has the call, and `results/` what each rank returned or raised.
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
CALL, RESULTS = "call", "results"
CONTROLLER_LOG = "controller.log"
_MAX_JSON = 64 << 20  # bytes; the record of 1000 nodes has 5 MiB


def state_folder() -> Path:
    """Return orch's state folder on this machine ($XDG_STATE_HOME/orch)."""
    return Path(platformdirs.user_state_dir("orch"))


def runs_folder() -> Path:
    """Return the folder that contains the runs' folders."""
    return state_folder() / "runs"


def ensure_private_folder(folder: Path, top: Path | None = None, *, create: bool = True) -> None:
    """Check that no other user can write to `folder` or to those above it; create it if necessary.

    `top` is the first folder of orch in its path (None: the state folder); missing folders get mode 0700.
    Raises LaunchError, with the remedy, if another user owns one of them or can write there, and OSError
    (FileNotFoundError if it is missing and must not be created).
    """
    try:
        trust.own_folder(str(folder), str(top or state_folder()), create=create)
    except trust.Untrusted as error:
        raise LaunchError(
            f"orch does not use {folder}: {error.path} {error.why}",
            remedy=f"{error.remedy}; or set XDG_STATE_HOME to another folder",
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Replace the file at `path` atomically with `value` as JSON, with mode 0600.

    Raises OSError; then it is unchanged.
    """
    # Without `indent`, which would leave json's encoder in C unused.
    write_private(path, json.dumps(value), overwrite=True)


def write_private(path: Path, text: str, *, overwrite: bool) -> None:
    """Create the file at `path` atomically with mode 0600; keep an existing one unless `overwrite`.

    Raises OSError; then it is unchanged.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if overwrite:
            temporary.replace(path)
        else:
            with suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the JSON at `path`, None if it cannot be read."""
    try:
        return load_json(path)
    except (OSError, ValueError):
        return None


def load_json(path: Path, *, own: bool = False) -> Any:
    """Return the JSON in a regular file; with `own`, one that no other user can have written.

    Raises OSError (of which trust.Untrusted is one), and ValueError for invalid JSON or more than 64 MiB.
    """
    with os.fdopen(trust.open_file(str(path), own=own), "rb") as file:
        data = file.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise ValueError(f"{path} is larger than {_MAX_JSON} bytes")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def size_of(folder: Path) -> int:
    """Return the disk usage of the files below `folder` in bytes; 0 if there is no such folder."""
    size = 0
    for path, _, names in os.walk(folder):  # skips folders that are removed meanwhile
        for name in names:
            with suppress(FileNotFoundError):  # the file was removed
                status = (Path(path) / name).lstat()
                size += disk_usage(status) if S_ISREG(status.st_mode) else 0
    return size
