"""What runs take up on this node's disk, and taking it back: never of a run that lives.

A run lives while its supervisor does, or any process of it is left. Only the node that a folder belongs to
can tell: with a shared home the folders of the others are there too, and not looked at.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Dict, List, Optional, Tuple

from . import files, packages, processes, records, trial
from .tasks import Tell, deadline


def usage(tell: Tell, limit: float, runs: List[Tuple[str, str]]) -> None:
    """Tell {"bytes": [of each of `runs` (run, node) on the disk, or None where there is nothing]}."""
    tell({"bytes": [_size(files.run_directory(run, node)) for run, node in runs]})


def forget(
    tell: Tell,
    limit: float,
    runs: List[Tuple[str, str]],
    node: Optional[str] = None,
    trials_older: Optional[float] = None,
) -> None:
    """Remove the folders of `runs`, each (run, node), unless the run lives.

    With `trials_older`, also what is left on `node` of trials that began more than so many seconds ago,
    and packages of orch's node side that nobody needs any more.

    Tells {"removed": [run, node] of each whose folder is gone (or was never there), "live": [run, node]
    of each that lives, "failed": [run, node, why], "bytes": how many are free again}. A run of which
    nothing is told was not come to within `limit` seconds: ask again.
    """
    until = deadline(limit)
    folders = [(run, of, files.run_directory(run, of)) for run, of in runs]
    answer: Dict[str, Any] = {"removed": [], "live": [], "failed": [], "bytes": 0}
    if trials_older is not None:
        if node is None:
            raise ValueError("trials are forgotten of one node: its name is missing")
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
    tell(answer)


def _remove(folder: str) -> Optional[int]:
    """Remove a run's folder; return the bytes that were in it, or None where the run lives."""
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
            pass  # another controller has it removed too, and goes on with it
    try:
        os.rmdir(parent)
    except OSError:
        pass  # it is gone, or another node that shares this home still has its own in there
    return size or 0


def _lives(folder: str) -> bool:
    status = records.read_status(folder)
    if status is not None:
        if processes.is_alive(status["pid"], status["start"]):
            return True
        if status["state"] == "ended" and not status["left"]:
            return False  # its supervisor has seen to it that nothing is left
    return bool(processes.of_run(folder))


def _trials(node: str, before: float) -> List[Tuple[str, str, str]]:
    """Return (run, node, folder) of each trial on `node` whose folder was last touched `before`."""
    found = []
    runs = os.path.join(files.state_root(), "runs")
    for run in sorted(os.listdir(runs)) if os.path.isdir(runs) else ():
        folder = os.path.join(runs, run, node)
        if trial.is_trial(folder) and os.stat(folder).st_mtime < before:
            found.append((run, node, folder))
    return found


def _size(folder: str) -> Optional[int]:
    """Return the bytes that `folder` takes up on the disk, links not followed; None without one."""
    try:
        total = os.lstat(folder).st_blocks
    except FileNotFoundError:
        return None
    for path, folders, names in os.walk(folder):
        for name in folders + names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks
            except FileNotFoundError:
                continue  # it went while this looked, as files of a run that lives do
    return total * 512
