"""Room and limits: what /dev/shm, the disk, the kernel and the shell allow a job."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional


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
