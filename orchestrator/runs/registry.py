"""The runs that this machine knows of.

Each function raises OrchError when the folder that holds them cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import OrchError, UsageError
from orchestrator.runs.folder import runs_folder
from orchestrator.runs.saved import Saved, read_saved

_LATEST = "latest"


def all_runs(root: Path | None = None) -> list[Saved]:
    """Return every run that was kept below `root`, the latest first.

    A folder that holds no record (a crash while it was made) is not among them.
    """
    found = [saved for folder in _folders(root) if (saved := read_saved(folder)) is not None]
    return sorted(found, key=lambda saved: saved.began, reverse=True)


def broken(root: Path | None = None) -> list[Path]:
    """Return the folders below `root` that hold no record of a run that can be read."""
    return [folder for folder in _folders(root) if read_saved(folder) is None]


def find(name: str | None = None, root: Path | None = None) -> Saved:
    """Return the run called `name`: the whole name or a beginning that no other has; None: the latest.

    Raises UsageError when there is no such run, or more than one.
    """
    if name is not None and name != _LATEST:
        return _named(name, root)
    runs = all_runs(root)
    if not runs:
        raise UsageError("there is no run yet", remedy="orch launch SCRIPT starts one")
    return runs[0]


@contextmanager
def unless_pruned(saved: Saved) -> Iterator[None]:
    """For who reads a run's files. Raises OrchError when one is missing, for the run was removed."""
    try:
        yield
    except FileNotFoundError:
        if read_saved(saved.folder) is not None:
            raise
        raise OrchError(
            f"run {saved.run} was removed while it was read",
            remedy="orch runs shows those that there are",
        ) from None


def _named(name: str, root: Path | None) -> Saved:
    names = {folder.name: folder for folder in _folders(root)}
    matching = [name] if name in names else [other for other in names if other.startswith(name)]
    runs = [saved for other in sorted(matching) if (saved := read_saved(names[other])) is not None]
    if len(runs) == 1:
        return runs[0]
    if len(runs) > 1:
        some = ", ".join(saved.run for saved in runs[:5]) + (", ..." if len(runs) > 5 else "")
        raise UsageError(f"{name!r} may be any of {some}", remedy="write more of the name")
    if matching:
        raise UsageError(
            f"{names[matching[0]]} holds no record of a run that can be read",
            remedy="another version of orch may have written it: use that one; "
            "orch runs --prune removes what is left of a crash",
        )
    raise UsageError(f"there is no run {name!r}", remedy="orch runs shows those that there are")


def _folders(root: Path | None) -> list[Path]:
    root = root or runs_folder()
    try:
        return [folder for folder in root.iterdir() if folder.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OrchError(
            f"the runs of this machine cannot be read: {root}: {error.strerror}",
            remedy="name another place with XDG_STATE_HOME",
        ) from None
