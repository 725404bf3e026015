"""Disk space: how much there is, and whether files can be written."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from typing import Any, Dict, List, Optional

from .. import files
from . import read

_OCTAL = re.compile(r"\\([0-7]{3})")


def disk(workdir: str) -> List[Dict[str, Any]]:
    """Return the disk space of the working folder, of orch's own folder, and of /tmp.

    Each is {"role", "path", "at", "mount", "size", "free", "files", "free_files", "problem", "noexec"}:
    `at` is the nearest existing folder above `path`; `problem` is why nothing can be written there, as
    {"errno", "text"}, or null. Sizes are in bytes, `free` is what this user can write; `files` is 0 if a
    file system has no limit of files.
    """
    places = [("workdir", workdir), ("state", files.state_root()), ("tmp", "/tmp")]
    mounts = _mounts()
    return [dict(_room(path, mounts), role=role) for role, path in places]


def _room(path: str, mounts: List[str]) -> Dict[str, Any]:
    at = os.path.abspath(path)
    while not os.path.exists(at):
        at = os.path.dirname(at)
    found = os.statvfs(at)
    return {
        "path": path,
        "at": at,
        "mount": _mount_of(os.path.realpath(at), mounts),
        "size": found.f_blocks * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        "files": found.f_files,
        "free_files": found.f_favail,
        "problem": _why_not_writable(at),
        "noexec": bool(found.f_flag & os.ST_NOEXEC),
    }


def _why_not_writable(folder: str) -> Optional[Dict[str, Any]]:
    """Return why no small file can be written in `folder`; it has no name, or only for a moment."""
    try:
        if not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with tempfile.TemporaryFile(dir=folder, prefix=".orch-room-") as file:
            os.write(file.fileno(), bytes(4096))  # so that a quota or a full disk counts
    except OSError as error:
        return {"errno": error.errno, "text": error.strerror or str(error)}
    return None


def _mounts(root: str = "/") -> List[str]:
    """Return all mount points."""
    fields = [line.split(" ") for line in read.lines(root, "/proc/self/mountinfo")]
    return [_OCTAL.sub(lambda m: chr(int(m[1], 8)), own[4]) for own in fields if len(own) > 4]


def _mount_of(path: str, mounts: List[str]) -> str:
    """Return the mount point of the file system that `path` is on: the longest one above it."""
    above = [place for place in mounts if (path + "/").startswith(place.rstrip("/") + "/")]
    return max(above, key=len, default="/")
