"""A local copy of the launched files, for spares that join after the folder has changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.sync.tree import Tree, entry_at


def copy_tree(tree: Tree, folder: Path) -> None:
    """Copy the files of a tree into a new `folder`. Raises OSError; then the folder is removed.

    A file that changes while it is copied changes the digest, which `read_copy` checks.
    """
    try:
        folder.mkdir(mode=0o700)
        for entry in tree.entries:
            target = folder / entry.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if entry.kind == "folder":
                target.mkdir(mode=0o700, exist_ok=True)
                target.chmod(entry.mode | 0o700)
            else:
                shutil.copy2(tree.root / entry.path, target, follow_symlinks=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read_copy(folder: Path, digest: str) -> Tree | None:
    """Return the tree that was copied into `folder`; None if its digest differs.

    Raises OSError if it cannot be read.
    """
    base = os.fsencode(folder) + b"/"
    entries = (
        entry_at(base, os.fsencode(path.relative_to(folder)))
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir())
    )
    found = sorted(filter(None, entries), key=lambda entry: entry.path)
    tree = Tree(folder, tuple(found))
    return tree if tree.digest == digest else None
