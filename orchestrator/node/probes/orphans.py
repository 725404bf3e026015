"""Processes of other jobs on this host: ranks that still run, and whoever has a GPU open."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional, Set

from . import read

_MOST = 16  # processes that are told of
_GPU = re.compile(r"/dev/nvidia\d+\Z")
# Daemons that keep the driver awake or watch it; names are cut at 15 bytes by the kernel.
_SERVICES = (
    "nvidia-persiste",
    "nv-hostengine",
    "nv-fabricmanage",
    "dcgm-exporter",
    "nvidia-smi",
    "Xorg",
)


def orphans(root: str = "/", session: Optional[int] = None) -> Dict[str, Any]:
    """Return {"processes": [...]}: what belongs to a distributed job, or has a GPU open.

    A job's process has RANK and MASTER_PORT, TORCHELASTIC_RUN_ID or ORCH_RUN in its environment. Each is
    {"pid", "age" (seconds), "owner", "command", "run", "address", "port", "gpu"}; the first of each
    family of processes stands for it, and at most 16 are told of. What this process may not read (another
    user's environment) is not counted, nor is this process's own `session`.
    """
    session = os.getsid(0) if session is None else session
    families: Dict[int, Dict[str, Any]] = {}
    parents: Dict[int, int] = {}
    for name in read.names(root, "/proc"):
        if not name.isdigit():
            continue
        stat = _stat(root, name)
        if stat is None or stat["session"] == session:
            continue
        parents[int(name)] = stat["parent"]
        found = _of_job(root, name)
        if found is not None:
            families[int(name)] = dict(found, age=_age(root, stat["start"]), pid=int(name))
    first = [
        families[pid] for pid in sorted(families) if not _has_ancestor(pid, parents, set(families))
    ]
    return {"processes": first[:_MOST]}


def _of_job(root: str, pid: str) -> Optional[Dict[str, Any]]:
    folder = "/proc/" + pid
    environment = read.environment(root, int(pid))
    ranked = "RANK" in environment and "MASTER_PORT" in environment
    job = ranked or "TORCHELASTIC_RUN_ID" in environment or "ORCH_RUN" in environment
    gpu = _has_gpu(root, folder)
    if not job and not gpu:
        return None
    return {
        "owner": read.owner(root, int(pid)) or "?",
        "command": read.command(root, int(pid)),
        "run": environment.get("ORCH_RUN"),
        "address": environment.get("MASTER_ADDR"),
        "port": environment.get("MASTER_PORT"),
        "gpu": gpu,
    }


def _has_gpu(root: str, folder: str) -> bool:
    if read.text(root, folder + "/comm") in _SERVICES:
        return False
    opened = read.names(root, folder + "/fd")
    return any(_GPU.match(read.link(root, folder + "/fd/" + name) or "") for name in opened)


def _stat(root: str, pid: str) -> Optional[Dict[str, int]]:
    text = read.text(root, "/proc/{}/stat".format(pid))
    if text is None or ")" not in text:
        return None  # it ended just now
    fields = text[text.rindex(")") + 1 :].split()
    if fields[0] in "ZX":
        return None
    return {"parent": int(fields[1]), "session": int(fields[3]), "start": int(fields[19])}


def _age(root: str, start: int) -> float:
    """Return the seconds since `start`, which is in clock ticks since boot (proc(5))."""
    uptime = float((read.text(root, "/proc/uptime") or "0").split()[0])
    return max(0.0, uptime - start / os.sysconf("SC_CLK_TCK"))


def _has_ancestor(pid: int, parents: Dict[int, int], among: Set[int]) -> bool:
    seen: List[int] = []
    parent = parents.get(pid, 0)
    while parent and parent not in seen:
        if parent in among:
            return True
        seen.append(parent)
        parent = parents.get(parent, 0)
    return False
