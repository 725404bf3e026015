"""Parse the files that a node lists; refuse names that lead out of the folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.util.answers import count, text

_MAX_PATH = 4096  # bytes
_MAX_NAME = 255
_MAX_SIZE = 1 << 50  # bytes of one file
_BLOCK = 512  # bytes; the last block of a file may be partly used
_RESERVED = ".orch-"  # names of orch's own files


@dataclass(frozen=True)
class RemoteFile:
    """A file or link below a folder of a node.

    `path` is relative, as os.fsdecode returns it, `size` in bytes (0 for a link), `disk` the bytes on the
    disk, and `target` that of a link.
    """

    path: str
    size: int
    mtime_ns: int
    mode: int
    kind: Literal["file", "link"]
    target: str
    disk: int

    @property
    def is_sparse(self) -> bool:
        """Whether it has holes: it takes less space on the disk than its size."""
        return self.disk + _BLOCK < self.size

    @property
    def leads_out(self) -> bool:
        """Whether it is a link that leads out of the folder, wherever the folder is."""
        if self.kind != "link":
            return False
        steps = self.target.split("/")
        up = next((n for n, step in enumerate(steps) if step != ".."), len(steps))
        # What `..` means after a name depends on that name: it may be another link.
        return steps[0] == "" or up > self.path.count("/") or ".." in steps[up:]


def remote_file(value: Any) -> RemoteFile:
    """Return one entry of the answer to `changed`. Raises ValueError for anything else."""
    path, size, mtime_ns, mode, kind, target, disk = value
    if kind not in ("file", "link"):
        raise ValueError(f"not a kind of file: {kind!r:.100}")
    return RemoteFile(
        path=_path(path),
        size=count(size, _MAX_SIZE),
        mtime_ns=_time(mtime_ns),
        mode=count(mode, 0o7777),
        kind=kind,
        target=_target(target) if kind == "link" else "",
        disk=count(disk),
    )


def _time(value: Any) -> int:
    return -count(-value) if type(value) is int and value < 0 else count(value)


def _path(value: Any) -> str:
    path = text(value)
    parts = path.split("/")
    if "\0" in path or len(os.fsencode(path)) > _MAX_PATH:
        raise ValueError(f"not a path: {path!r:.100}")
    for part in parts:
        if part in ("", ".", "..") or len(os.fsencode(part)) > _MAX_NAME:
            raise ValueError(f"not a path below a folder: {path!r:.100}")
        if part.startswith(_RESERVED):
            raise ValueError(f"a name reserved by orch: {path!r:.100}")
    return path


def _target(value: Any) -> str:
    target = text(value)
    if not target or "\0" in target or len(os.fsencode(target)) > _MAX_PATH:
        raise ValueError(f"not the target of a link: {target!r:.100}")
    return target
