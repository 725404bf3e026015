"""Find what makes a folder large, and the .orchignore lines that exclude it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from orchestrator.sync.ignore import pattern_for
from orchestrator.sync.tree import Tree

_MAX_LISTED = 5
_MIN_SHARE = 0.02  # of the total size, to be listed
_SUBFOLDER_SHARE = 0.9  # of a folder's size, for a subfolder to be listed instead
_OUTPUTS = frozenset(
    {
        "checkpoint", "checkpoints", "ckpt", "ckpts", "lightning_logs", "log", "logs", "mlruns",
        "multirun", "output", "outputs", "results", "runs", "saved_models", "snapshots", "tb_logs",
        "tensorboard", "wandb",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Large:
    """A folder, or a file at the top, of `size` bytes; `is_output`: training usually writes it.

    `line` excludes it, in an .orchignore at the top.
    """

    path: str
    size: int
    is_output: bool
    line: str


def is_output(path: str) -> bool:
    """Tell whether a folder at `path` has a usual name of an output folder of training."""
    return any(part.lower() in _OUTPUTS for part in path.split("/"))


def largest(tree: Tree) -> list[Large]:
    """Return the largest folders and files of `tree`, the largest first."""
    sizes: Counter[str] = Counter()  # of folders, and of files
    below: dict[str, set[str]] = {}
    for entry in tree.entries:
        if entry.path in tree.repeated:
            continue
        path, size = entry.path, entry.size
        sizes[path] += size
        while path:
            folder = path.rpartition("/")[0]
            below.setdefault(folder, set()).add(path)
            if folder:
                sizes[folder] += size
            path = folder
    found = [_narrowed(path, sizes, below) for path in below.get("", ())]
    found.sort(key=lambda path: (-sizes[path], path))
    return [
        Large(
            path + ("/" if path in below else ""),
            sizes[path],
            path in below and is_output(path),
            os.fsdecode(pattern_for(os.fsencode(path), directory=path in below)),
        )
        for path in found[:_MAX_LISTED]
        if sizes[path] > _MIN_SHARE * tree.size
    ]


def _narrowed(path: str, sizes: Counter[str], below: dict[str, set[str]]) -> str:
    """Return the innermost folder in `path` with almost all of its bytes."""
    while path in below and not is_output(path):
        largest_inside = max(below[path], key=lambda inner: (sizes[inner], inner))
        if largest_inside not in below or sizes[largest_inside] < _SUBFOLDER_SHARE * sizes[path]:
            break
        path = largest_inside
    return path
