"""The disk usage of runs on this node, and removing them, but never one that lives.

A run lives while its supervisor or any other process of it does. Only the node that a folder belongs to can
know that: with a shared home the folders of other nodes are there too, and are left alone.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Dict, List, Optional, Tuple

from . import files, packages, processes, records, trial
from .probes import read
from .tasks import deadline


def usage(limit: float, runs: List[Tuple[str, str]]) -> Dict[str, Any]:
    """Return {"bytes": [on the disk, of each of `runs` (run, node), None for those without a folder]}."""
    return {"bytes": [_size(files.run_directory(run, node)) for run, node in runs]}


def forget(
    limit: float,
    runs: List[Tuple[str, str]],
    node: Optional[str] = None,
    trials_older: Optional[float] = None,
) -> Dict[str, Any]:
    """Remove the folders of `runs`, each (run, node), unless the run lives.

    With `trials_older`, also remove what is left on `node` of trials that began more than so many seconds
    ago, and unused packages of orch's node side.

    Returns {"removed": [run, node] of each whose folder is gone (or was never there), "live": [run, node]
    of each that lives, "failed": [run, node, why], "bytes": how many were freed}. A run that is in none of
    them was not reached within `limit` seconds: ask again.
    """
    until = deadline(limit)
    folders = [(run, of, files.run_directory(run, of)) for run, of in runs]
    answer: Dict[str, Any] = {"removed": [], "live": [], "failed": [], "bytes": 0}
    if trials_older is not None:
        if node is None:
            raise ValueError("cannot remove old trials: the name of the node is missing")
        folders += _trials(node, time.time() - trials_older)
        answer["bytes"] += packages.remove_unused()
    for run, of, folder in folders:
        if time.monotonic() > until:
            break
        try:
            size = _remove(folder)
        except OSError as error:
            answer["failed"].append([run, of, error.strerror or str(error)])
            continue
        answer["live" if size is None else "removed"].append([run, of])
        answer["bytes"] += size or 0
    return answer


def _remove(folder: str) -> Optional[int]:
    """Remove a run's folder; return the bytes that were in it, or None if the run lives."""
    parent = os.path.dirname(folder)
    if os.path.islink(parent) or os.path.islink(folder):
        raise OSError("it is a symbolic link, not a folder that orch made")
    if _lives(folder):
        return None
    size = _size(folder)
    if size is not None:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass  # another controller is removing it too
    try:
        os.rmdir(parent)
    except OSError:
        pass  # it is gone, or holds the folder of another node that shares this home
    return size or 0


def _lives(folder: str) -> bool:
    status = records.read_status(folder)
    if status is not None:
        if processes.is_alive(status["pid"], status["start"]):
            return True
        if status["state"] == "ended" and not status["left"]:
            return False  # its supervisor has made sure that nothing is left
    return bool(processes.of_run(folder))


def _trials(node: str, before: float) -> List[Tuple[str, str, str]]:
    """Return (run, node, folder) of each trial on `node` with a folder last changed `before`."""
    runs = os.path.join(files.state_root(), "runs")
    folders = [(run, node, os.path.join(runs, run, node)) for run in read.names("/", runs)]
    return [f for f in folders if trial.is_trial(f[2]) and os.stat(f[2]).st_mtime < before]


def _size(folder: str) -> Optional[int]:
    """Return the bytes that `folder` takes up on the disk, without following links; None without one."""
    try:
        total = os.lstat(folder).st_blocks
    except FileNotFoundError:
        return None
    for path, folders, names in os.walk(folder):
        for name in folders + names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks
            except FileNotFoundError:
                continue  # it has just been removed, as files of a live run may be
    return total * 512
