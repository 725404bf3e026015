"""The listing that a node would send for the files of a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from orchestrator.sync.remote_files import RemoteFile


def listed(root: Path) -> list[RemoteFile]:
    """Return every file and link below `root`."""
    return [
        described(root, str(Path(folder, name).relative_to(root)))
        for folder, folders, names in os.walk(root)
        for name in [*names, *(name for name in folders if Path(folder, name).is_symlink())]
    ]


def described(root: Path, path: str) -> RemoteFile:
    """Return the file or link at `path` below `root`."""
    status = os.lstat(root / path)
    is_link = stat.S_ISLNK(status.st_mode)
    return RemoteFile(
        path,
        0 if is_link else status.st_size,
        status.st_mtime_ns,
        stat.S_IMODE(status.st_mode),
        "link" if is_link else "file",
        str((root / path).readlink()) if is_link else "",
        status.st_blocks * 512,
    )
