"""A trial is a run of orch's own: it leaves nothing behind, also when its controller is suddenly gone."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Dict

from . import files, processes, supervise
from .reasons import StopReason

_SIGN = "trial"  # a file that tells a trial's folder from that of a run of somebody
_END_TIMEOUT = 12.0  # seconds for a supervisor to end: it gives what cannot be killed up after 10


def put(run: str, node: str, name: str, text: str) -> Dict[str, Any]:
    """Make the folder of `run` with the file `name` of this `text` in it; return {"folder": path}."""
    folder = files.run_directory(run, node)
    files.make_folder(folder)
    _write(os.path.join(folder, _SIGN), "")
    _write(os.path.join(folder, os.path.basename(name)), text)
    return {"folder": folder}


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def is_trial(folder: str) -> bool:
    """Tell whether the run's `folder` is that of a trial."""
    return os.path.exists(os.path.join(folder, _SIGN))


def discard(run: str, node: str) -> Dict[str, Any]:
    """Kill what lives of `run` here and remove its folder; return {"left": [what could not be killed]}."""
    folder = files.run_directory(run, node)
    deadline = time.monotonic() + _END_TIMEOUT
    # The supervisor ends last, and writes: the folder is removed when it is gone.
    while (
        supervise.request_stop(folder, 0.0, StopReason.TRIAL_OVER.value, {})
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    left = processes.kill_all(folder)
    if os.path.isdir(folder):
        shutil.rmtree(folder)
    try:
        os.rmdir(os.path.dirname(folder))
    except OSError:
        pass  # it is gone, or another node that shares this home still has its own in there
    return {"left": left}
