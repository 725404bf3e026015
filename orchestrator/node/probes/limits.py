"""Limits: what shared memory, the kernel and the login allow a job."""

from __future__ import annotations

import os
import resource
from typing import Any, Dict, Optional, Tuple

from . import read


def shm(path: str = "/dev/shm") -> Optional[Dict[str, Any]]:
    """Return {"path", "size", "free"} of the shared memory's file system, in bytes; None without one."""
    try:
        found = os.statvfs(path)
    except FileNotFoundError:
        return None
    return {
        "path": path,
        "size": found.f_blocks * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
    }


def limits(root: str = "/") -> Dict[str, Any]:
    """Return {"user", "files", "processes", "core", "most_files"}: what a login, and so a rank, may have.

    The three are [soft, hard], null for no limit; `most_files` is the kernel's own bound of `files`.
    """
    most = read.text(root, "/proc/sys/fs/nr_open") or ""
    return {
        "user": read.user(os.getuid()),
        "files": _limit(resource.RLIMIT_NOFILE),
        "processes": _limit(resource.RLIMIT_NPROC),
        "core": _limit(resource.RLIMIT_CORE),
        "most_files": int(most) if most.isdigit() else 1 << 20,
    }


def _limit(which: int) -> Tuple[Optional[int], Optional[int]]:
    soft, hard = resource.getrlimit(which)
    infinity = resource.RLIM_INFINITY
    return (None if soft == infinity else soft, None if hard == infinity else hard)
