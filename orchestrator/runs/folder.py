"""Where runs are kept on this machine, and how a file there is replaced without ever showing half of it.

A run's folder has `run.json` (what it is and how it ended), `events.jsonl` (what happened), `logs/` (the
copies of the ranks' output), and while it is minded `controller.lock` (`lock.py`), `controller.log` and
`stop.json` (`wishes.py`).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

import platformdirs

RUN, EVENTS, LOGS = "run.json", "events.jsonl", "logs"
CONTROLLER_LOG = "controller.log"


def state_folder() -> Path:
    """Return orch's state folder on this machine ($XDG_STATE_HOME/orch)."""
    return Path(platformdirs.user_state_dir("orch"))


def runs_folder() -> Path:
    """Return the folder that holds a folder for each run."""
    return state_folder() / "runs"


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
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def size_of(folder: Path) -> int:
    """Return how many bytes the files below `folder` have; 0 where there is no such folder."""
    size = 0
    for path, _, names in os.walk(folder):  # which passes over folders that go while it looks
        for name in names:
            with suppress(FileNotFoundError):  # so did a file
                status = (Path(path) / name).lstat()
                size += status.st_size if S_ISREG(status.st_mode) else 0
    return size
