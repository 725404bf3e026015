"""The tree of the files and folders that the user names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from orchestrator.errors import UsageError
from orchestrator.sync.tree import Entry, Tree, collect, entry_at
from orchestrator.util.text import printable


def named_tree(root: Path, paths: Sequence[Path]) -> Tree:
    """Return the tree of `paths`, which are files and folders below `root`.

    Ignore files apply to what is in the folders, not to files that are named. Raises UsageError for a path
    that does not exist or is not below `root`, and SyncError for a folder that cannot be read.
    """
    entries: dict[str, Entry] = {}
    for path in paths:
        shown = printable(os.fsencode(path))
        full = Path(os.path.normpath(root / path))
        try:
            inside = full.relative_to(root)
        except ValueError:
            raise UsageError(
                f"{shown} is not below the current folder",
                remedy="change to the folder that corresponds to the working folder there: cd DIR",
            ) from None
        try:
            status = full.lstat()
        except OSError as error:
            raise UsageError(f"{shown}: {error.strerror}") from None
        if S_ISDIR(status.st_mode):
            for found in collect(full).entries:
                name = (inside / found.path).as_posix()
                entries[name] = replace(found, path=name)
        elif S_ISREG(status.st_mode) or S_ISLNK(status.st_mode):
            entry = entry_at(os.fsencode(root) + b"/", os.fsencode(inside))
            if entry is not None:
                entries[entry.path] = entry
        else:
            raise UsageError(f"{shown} is neither a file nor a folder")
    return Tree(root, tuple(entries[name] for name in sorted(entries)))
