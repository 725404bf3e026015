"""Limits and the clock of a rank, as they were when it started, compared with what is used now."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional

from .. import files, rank_setting, records
from . import groups, read


def limits(run: str, node: str, attempt: int, rank: int, root: str = "/") -> Dict[str, Any]:
    """Return what limits the rank's files, processes and memory.

    {"limits": {name: [soft, hard]} of `rank_setting.LIMITS`, "user", "tasks": threads that run as that user
    here, "group": {"path", "limit", "used"} of the control group that limits processes most, or null,
    "refused": how often such a limit was hit while the rank ran, or null, "open_files": [used, limit] of
    the whole machine, or null}. `limits` is empty if the rank has no record.
    """
    record = record_of(run, node, attempt, rank)
    group = group_of(record, "pids")
    tightest = None if group is None else groups.tightest_pids(root, group)
    used = (read.text(root, "/proc/sys/fs/file-nr") or "").split()
    return {
        "limits": record.get("limits", {}),
        "user": read.user(os.getuid()),
        "tasks": _tasks(root),
        "group": tightest and dict(zip(("path", "limit", "used"), tightest)),
        "refused": record.get("refused_forks"),
        "open_files": [int(used[0]), int(used[2])] if len(used) == 3 else None,
    }


def clock(run: str, node: str, attempt: int, rank: int) -> Dict[str, Any]:
    """Return {"step": by how many seconds the clock was set since the rank began, null if unknown}."""
    began = record_of(run, node, attempt, rank).get("clock")
    return {"step": None if began is None else rank_setting.clock_offset() - began}


def record_of(run: str, node: str, attempt: int, rank: int) -> Dict[str, Any]:
    """Return the record of a rank; empty if there is none."""
    folder = files.attempt_folder(files.run_directory(run, node), attempt)
    path = os.path.join(folder, "rank-{:d}.json".format(rank))
    return records.try_read(records.read_rank, path) or {}


def group_of(record: Dict[str, Any], controller: str) -> Optional[groups.Group]:
    """Return the control group that was noted for a rank; None if none was."""
    noted = record.get("groups")
    group = noted.get(controller) if isinstance(noted, dict) else None
    if not isinstance(group, list) or [type(each) for each in group] != [str, str, int]:
        return None  # a script may have overwritten the record
    return groups.Group(*group)


def _tasks(root: str) -> int:
    """Return the number of threads of this user's processes."""
    uid, count = os.getuid(), 0
    for pid in read.pids(root):
        path = "/proc/{:d}".format(pid)
        try:
            if os.stat(read.below(root, path)).st_uid == uid:
                count += len(os.listdir(read.below(root, path + "/task")))
        except OSError:
            continue  # it has just ended
    return count
