"""Find a module that belongs to the project: what is installed under its name would be a stranger's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

_DEEPEST = 4
_MOST_FOLDERS = 5000
_MOST_ABOVE = 5
_PASSED_OVER = {"__pycache__", "build", "dist", "node_modules", "site-packages"}
_ROOTS = (".git", "pyproject.toml", "setup.cfg", "setup.py")


def remedy_for_project_module(source: Path, folder: str, module: str) -> str | None:
    """Return what makes the top-level `module` of the project found on the nodes; None where it is not the
    project's.

    `source` is the folder of this machine that goes to the nodes, and ranks start in `folder` of it.
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
    """Return the folder at or below `root` that has the module, the nearest first."""
    return next((folder for folder in _folders(root) if _has(folder, module)), None)


def _has(folder: Path, module: str) -> bool:
    if (folder / f"{module}.py").is_file():
        return True
    return any(True for pattern in ("*.py", "*/*.py") for _ in (folder / module).glob(pattern))


def _folders(root: Path) -> Iterator[Path]:
    """Yield `root` and the folders below it, level by level: no hidden ones, and no environments."""
    waiting, seen = [(root, 0)], 0
    for folder, depth in waiting:
        yield folder
        seen += 1
        if depth == _DEEPEST or seen > _MOST_FOLDERS:
            continue
        try:
            with os.scandir(folder) as entries:
                below = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError:
            continue  # not for us to read
        waiting += [
            (folder / name, depth + 1)
            for name in below
            if not name.startswith(".")
            and name not in _PASSED_OVER
            and not (folder / name / "pyvenv.cfg").exists()
        ]


def _root_above(source: Path) -> Path | None:
    """Return the nearest folder above `source` that looks like the root of a project."""
    for above in source.absolute().parents[:_MOST_ABOVE]:
        if above in (Path.home(), Path(above.root)):
            return None
        if any((above / name).exists() for name in _ROOTS):
            return above
    return None
