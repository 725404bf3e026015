"""A copy of the files of a launch on this machine: a spare gets these, even if the folder has changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.sync.tree import Entry, Tree, entry_at


def copy_tree(tree: Tree, folder: Path) -> None:
    """Copy the files of a tree into a new `folder`. Raises OSError, and then leaves no folder.

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
    """Return the tree that was copied into `folder`; None if its digest is another.

    Raises OSError if it cannot be read.
    """
    found: list[Entry] = []
    base = os.fsencode(folder) + b"/"
    for here, folders, names in os.walk(os.fsencode(folder)):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]  # noqa: PTH114, PTH118
        paths = [os.path.join(here, name)[len(base) :] for name in (*names, *links)]  # noqa: PTH118
        if not paths and not folders and here != os.fsencode(folder):
            paths = [here[len(base) :]]
        entries = [entry_at(base, path) for path in paths]
        found += [entry for entry in entries if entry is not None]
    tree = Tree(folder, tuple(sorted(found, key=lambda entry: entry.path)))
    return tree if tree.digest == digest else None
