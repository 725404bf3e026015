"""Disk space: how much there is, and whether files can be written."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any, Dict, List, Optional

from .. import files
from . import mounts


def disk(workdir: str) -> List[Dict[str, Any]]:
    """Return the disk space of the working folder, of orch's own folder, and of /tmp.

    Each is {"role", "path", "at", "mount", "size", "free", "files", "free_files", "problem", "noexec"}:
    `at` is the nearest existing folder above `path`; `problem` is why nothing can be written there, as
    {"errno", "text"}, or null. Sizes are in bytes, `free` is what this user can write; `files` is 0 if a
    file system has no limit of files.
    """
    places = [("workdir", workdir), ("state", files.state_root()), ("tmp", "/tmp")]
    found = mounts.mounts()
    return [dict(_room(path, found), role=role) for role, path in places]


def _room(path: str, among: List[mounts.Mount]) -> Dict[str, Any]:
    at = os.path.abspath(path)
    while not os.path.exists(at):
        at = os.path.dirname(at)
    found = os.statvfs(at)
    mount = mounts.mount_of(os.path.realpath(at), among)
    return {
        "path": path,
        "at": at,
        "mount": "/" if mount is None else mount.point,
        "size": found.f_blocks * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        "files": found.f_files,
        "free_files": found.f_favail,
        "problem": why_not_writable(at),
        "noexec": bool(found.f_flag & os.ST_NOEXEC),
    }


def why_not_writable(folder: str) -> Optional[Dict[str, Any]]:
    """Return why no small file can be written in `folder`; it has no name, or only for a moment."""
    try:
        if not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with tempfile.TemporaryFile(dir=folder, prefix=".orch-room-") as file:
            os.write(file.fileno(), bytes(4096))  # so that a quota or a full disk counts
    except OSError as error:
        return {"errno": error.errno, "text": error.strerror or str(error)}
    return None
