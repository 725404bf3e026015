"""A trial is a run of orch's own: it leaves nothing behind, even if its controller is suddenly gone."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Dict

from . import files, processes, supervise
from .reasons import StopReason

_MARK = "trial"  # a file that tells the folder of a trial from that of a user's run
_END_TIMEOUT = 12.0  # seconds for a supervisor to end: it gives up on unkillable processes after 10


def put(run: str, node: str, name: str, text: str) -> Dict[str, Any]:
    """Make the folder of `run` with the file `name` of this `text` in it; return {"folder": path}."""
    folder = files.run_directory(run, node)
    files.make_folder(folder)
    files.replace_file(os.path.join(folder, _MARK), b"")
    files.replace_file(os.path.join(folder, os.path.basename(name)), text.encode("utf-8"))
    return {"folder": folder}


def is_trial(folder: str) -> bool:
    """Return whether the run's `folder` is that of a trial."""
    return os.path.exists(os.path.join(folder, _MARK))


def discard(run: str, node: str) -> Dict[str, Any]:
    """Kill what lives of `run` here and remove its folder; return {"left": [unkillable pids]}."""
    folder = files.run_directory(run, node)
    deadline = time.monotonic() + _END_TIMEOUT
    # The supervisor ends last, and writes: the folder is removed once it is gone.
    reason = StopReason.TRIAL_OVER.value
    while supervise.request_stop(folder, 0.0, reason, {}) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = processes.kill_all(folder)
    if os.path.isdir(folder):
        shutil.rmtree(folder)
    try:
        os.rmdir(os.path.dirname(folder))
    except OSError:
        pass  # it is gone, or holds the folder of another node that shares this home
    return {"left": left}
