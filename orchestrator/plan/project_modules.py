"""Find a missing module in the project; a package of that name on PyPI would be a different one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

_MAX_DEPTH = 4
_MAX_FOLDERS = 5000
_MAX_PARENTS = 5
_SKIPPED = {"__pycache__", "build", "dist", "node_modules", "site-packages"}
_ROOT_FILES = (".git", "pyproject.toml", "setup.cfg", "setup.py")


def remedy_for_project_module(source: Path, folder: str, module: str) -> str | None:
    """Return how to make the project's top-level `module` importable on the nodes; None if it is not in
    the project.

    `source` is the folder that is copied to the nodes, and the ranks start in its subfolder `folder`.
    """
    root = source
    place = _find(source, module)
    if place is None and (above := _root_above(source)) is not None:
        root, place = above, _find(above, module)
    if place is None:
        return None
    entry = f"--env PYTHONPATH={shlex.quote(os.path.relpath(place, source / folder))}"
    if root == source:
        return f"{module} is the project's own, in {os.path.relpath(place, source)}: launch with {entry}"
    more = f"--sync {shlex.quote(str(root))} {entry}"
    return f"{module} is the project's own, in {place}, which does not go to the nodes: launch with {more}"


def _find(root: Path, module: str) -> Path | None:
    """Return the folder with the module, at or below `root`, nearest first."""
    return next((folder for folder in _folders(root) if _has(folder, module)), None)


def _has(folder: Path, module: str) -> bool:
    if (folder / f"{module}.py").is_file():
        return True
    return any(True for pattern in ("*.py", "*/*.py") for _ in (folder / module).glob(pattern))


def _folders(root: Path) -> Iterator[Path]:
    """Yield `root` and the folders below it, level by level, without hidden ones and environments."""
    waiting, seen = [(root, 0)], 0
    for folder, depth in waiting:
        yield folder
        seen += 1
        if depth == _MAX_DEPTH or seen > _MAX_FOLDERS:
            continue
        try:
            with os.scandir(folder) as entries:
                below = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError:
            continue  # no permission
        waiting += [
            (folder / name, depth + 1)
            for name in below
            if not name.startswith(".")
            and name not in _SKIPPED
            and not (folder / name / "pyvenv.cfg").exists()
        ]


def _root_above(source: Path) -> Path | None:
    """Return the nearest folder above `source` that is the root of a project."""
    for above in source.absolute().parents[:_MAX_PARENTS]:
        if above in (Path.home(), Path(above.root)):
            return None
        if any((above / name).exists() for name in _ROOT_FILES):
            return above
    return None
