"""Processes of other jobs on this host: ranks that still run, and processes that have a GPU open."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Optional, Set

from . import read

_MAX_PROCESSES = 16
_GPU = re.compile(r"/dev/nvidia\d+\Z")
# Daemons that keep the driver loaded or monitor it; the kernel cuts names at 15 bytes.
_SERVICES = (
    "nvidia-persiste", "nv-hostengine", "nv-fabricmanage", "dcgm-exporter", "nvidia-smi", "Xorg",
)  # fmt: skip


def orphans(root: str = "/", session: Optional[int] = None) -> Dict[str, Any]:
    """Return {"processes": [...]}: those that belong to a distributed job, or have a GPU open.

    A job's process has RANK and MASTER_PORT, TORCHELASTIC_RUN_ID or ORCH_RUN in its environment. Each is
    {"pid", "age" (seconds), "owner", "command", "run", "address", "port", "gpu"}; of each family of
    processes only the first is listed, and at most 16 in all. Those of this process's own `session`, and
    those of other users, which it may not inspect, do not count.
    """
    session = os.getsid(0) if session is None else session
    families: Dict[int, Dict[str, Any]] = {}
    parents: Dict[int, int] = {}
    for pid in read.pids(root):
        stat = read.stat(root, pid)
        if stat is None or not stat.is_alive or stat.session == session:
            continue
        parents[pid] = stat.parent
        found = _of_job(root, pid)
        if found is not None:
            families[pid] = dict(found, age=read.age(root, stat.start), pid=pid)
    first = [
        families[pid] for pid in sorted(families) if not _ancestors(pid, parents) & families.keys()
    ]
    return {"processes": first[:_MAX_PROCESSES]}


def _of_job(root: str, pid: int) -> Optional[Dict[str, Any]]:
    environment = read.environment(root, pid)
    is_rank = "RANK" in environment and "MASTER_PORT" in environment
    job = is_rank or "TORCHELASTIC_RUN_ID" in environment or "ORCH_RUN" in environment
    gpu = _has_gpu(root, pid)
    if not job and not gpu:
        return None
    return {
        "owner": read.owner(root, pid) or "?",
        "command": read.command(root, pid),
        "run": environment.get("ORCH_RUN"),
        "address": environment.get("MASTER_ADDR"),
        "port": environment.get("MASTER_PORT"),
        "gpu": gpu,
    }


def _has_gpu(root: str, pid: int) -> bool:
    if read.text(root, "/proc/{:d}/comm".format(pid)) in _SERVICES:
        return False
    return any(map(_GPU.match, read.open_files(root, pid)))


def _ancestors(pid: int, parents: Dict[int, int]) -> Set[int]:
    found: Set[int] = set()
    parent = parents.get(pid, 0)
    while parent and parent not in found:
        found.add(parent)
        parent = parents.get(parent, 0)
    return found
