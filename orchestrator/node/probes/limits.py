"""Limits that shared memory, the kernel and the login set for a job."""

from __future__ import annotations

import os
import resource
from typing import Any, Dict, Optional, Tuple

from . import read


def shm(path: str = "/dev/shm") -> Optional[Dict[str, Any]]:
    """Return {"size", "free"} of the shared memory's file system, in bytes; None without one."""
    try:
        found = os.statvfs(path)
    except FileNotFoundError:
        return None
    return {"size": found.f_blocks * found.f_frsize, "free": found.f_bavail * found.f_frsize}


def load(root: str = "/") -> Dict[str, Any]:
    """Return {"load", "cores"}: the load average of the last minute, and the cores for this login."""
    average = read.required(root, "/proc/loadavg").split()[0]
    return {"load": float(average), "cores": len(os.sched_getaffinity(0))}


def limits(root: str = "/") -> Dict[str, Any]:
    """Return {"user", "files", "processes", "most_files"}: the limits of a login, and so of a rank.

    `files` and `processes` are [soft, hard], null for no limit; `most_files` is the kernel's own limit.
    """
    most = read.text(root, "/proc/sys/fs/nr_open") or ""
    return {
        "user": read.user(os.getuid()),
        "files": limit(resource.RLIMIT_NOFILE),
        "processes": limit(resource.RLIMIT_NPROC),
        "most_files": int(most) if most.isdigit() else 1 << 20,
    }


def limit(which: int) -> Tuple[Optional[int], Optional[int]]:
    """Return the (soft, hard) limit of this process, None for no limit (getrlimit(2))."""
    soft, hard = resource.getrlimit(which)
    infinity = resource.RLIM_INFINITY
    return (None if soft == infinity else soft, None if hard == infinity else hard)


def somaxconn(root: str = "/") -> int:
    """Return how many connections may wait for one listener to accept them."""
    return int(read.required(root, "/proc/sys/net/core/somaxconn"))
