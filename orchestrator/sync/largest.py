"""What makes a folder large, and the lines of an .orchignore that would leave it here."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from orchestrator.sync.ignore import pattern_for
from orchestrator.sync.tree import Tree

_MOST = 5  # that are listed
_LEAST = 0.02  # of the whole, for one to be listed
_ALMOST_ALL = 0.9  # of a folder, for its one large subfolder to be told instead
_OUTPUTS = frozenset(
    {
        "checkpoint", "checkpoints", "ckpt", "ckpts", "lightning_logs", "log", "logs", "mlruns",
        "multirun", "output", "outputs", "results", "runs", "saved_models", "snapshots", "tb_logs",
        "tensorboard", "wandb",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Large:
    """A folder (or a file at the top) of so many bytes; `is_output`: training usually writes it.

    `line` is what leaves it out, in an .orchignore at the top.
    """

    path: str
    size: int
    is_output: bool
    line: str


def is_output(path: str) -> bool:
    """Whether a folder at `path` is called what training's output folders usually are."""
    return any(part.lower() in _OUTPUTS for part in path.split("/"))


def largest(tree: Tree) -> list[Large]:
    """Return what of `tree` is largest, the largest first."""
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
        for path in found[:_MOST]
        if sizes[path] > _LEAST * tree.size
    ]


def _narrowed(path: str, sizes: Counter[str], below: dict[str, set[str]]) -> str:
    """Return the folder in `path` that has almost all of it, or `path`."""
    while path in below and not is_output(path):
        most = max(below[path], key=lambda inner: (sizes[inner], inner))
        if most not in below or sizes[most] < _ALMOST_ALL * sizes[path]:
            break
        path = most
    return path
