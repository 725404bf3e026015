"""The runs that this machine knows of.

Each function raises OrchError when the folder that holds them cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import OrchError, UsageError
from orchestrator.node.trust import Untrusted
from orchestrator.runs.folder import ensure_private_folder, runs_folder
from orchestrator.runs.names import matching
from orchestrator.runs.saved_run import SavedRun, load_run, why_untrusted
from orchestrator.util.log import logger
from orchestrator.util.text import nearest

log = logger("runs")

LATEST = "latest"
"""The word for the run that began last."""


def all_runs(root: Path | None = None) -> list[SavedRun]:
    """Return every run that was kept below `root`, the latest first.

    A folder that holds no record (a crash while it was made) is not among them, nor one that somebody
    else may have put there.
    """
    found = [saved for folder in _folders(root) if (saved := load_run(folder)) is not None]
    return sorted(found, key=lambda saved: saved.began, reverse=True)


def unreadable_runs(root: Path | None = None) -> list[Path]:
    """Return the folders below `root` that hold no record of a run that can be read."""
    return [
        folder
        for folder in _folders(root)
        if load_run(folder) is None and why_untrusted(folder) is None
    ]


def untrusted_runs(root: Path | None = None) -> list[Untrusted]:
    """Return why each run below `root` is left out that somebody else may have put there."""
    return [error for folder in _folders(root) if (error := why_untrusted(folder)) is not None]


def find_run(name: str | None = None, root: Path | None = None) -> SavedRun:
    """Return the run called `name`: the whole name, or a beginning of it or of its last part that no
    other has; None: the latest.

    Raises UsageError when there is no such run, or more than one.
    """
    if name is not None and name != LATEST:
        return _noted(_named(name, root))
    runs = all_runs(root)
    if not runs:
        for folder in _folders(root):
            if (error := why_untrusted(folder)) is not None:
                raise _refusal(folder.name, error)
        raise UsageError("there is no run yet", remedy="orch launch SCRIPT starts one")
    return _noted(runs[0])


def _noted(saved: SavedRun) -> SavedRun:
    log.info("run %s, %s: read from %s", saved.run, saved.state, saved.folder)
    return saved


def active_runs(name: str | None = None, root: Path | None = None) -> list[SavedRun]:
    """Return the runs that have not ended, the latest first: all, or those that `name` may mean."""
    runs = [saved for saved in all_runs(root) if not saved.has_ended]
    if name is None:
        return runs
    meant = names_like(name, root)
    return [saved for saved in runs if saved.run in meant]


def names_like(name: str, root: Path | None = None) -> list[str]:
    """Return the names of the runs that `name` may mean."""
    return matching(name, [folder.name for folder in _folders(root)])


@contextmanager
def unless_pruned(saved: SavedRun) -> Iterator[None]:
    """For who reads a run's files. Raises OrchError when one is missing, for the run was removed."""
    try:
        yield
    except FileNotFoundError:
        if load_run(saved.folder) is not None:
            raise
        raise OrchError(
            f"run {saved.run} was removed while it was read",
            remedy="orch runs shows those that there are",
        ) from None
    except OSError as error:
        if error.filename is None or not Path(error.filename).is_relative_to(saved.folder):
            raise  # of something else: the output, say
        raise OrchError(
            f"run {saved.run} cannot be read: {error.filename}: {error.strerror}"
        ) from None


def _named(name: str, root: Path | None) -> SavedRun:
    names = {folder.name: folder for folder in _folders(root)}
    meant = sorted(matching(name, list(names)))
    runs = [saved for other in meant if (saved := load_run(names[other])) is not None]
    if len(runs) == 1:
        return runs[0]
    if len(runs) > 1:
        some = ", ".join(saved.run for saved in runs[:5]) + (", ..." if len(runs) > 5 else "")
        raise UsageError(f"{name!r} may be any of {some}", remedy="write more of the name")
    for other in meant:
        error = why_untrusted(names[other])
        if error is not None:
            raise _refusal(other, error)
    if meant:
        raise UsageError(
            f"{names[meant[0]]} holds no record of a run that can be read",
            remedy="another version of orch may have written it: use that one; "
            "orch runs --prune removes what is left of a crash",
        )
    like = _nearest(name, list(names))
    hint = f" (did you mean {like!r}?)" if like else ""
    raise UsageError(f"there is no run {name!r}{hint}", remedy="orch runs lists the runs")


def _nearest(name: str, names: list[str]) -> str | None:
    """Return the name of a run that, or a part of which, is most like `name`."""
    parts = {
        part: each
        for each in names
        for part in (*each.rpartition("-")[::2], each)
        if part
    }  # fmt: skip
    like = nearest(name, parts)
    return None if like is None else parts[like]


def _refusal(run: str, error: Untrusted) -> OrchError:
    return OrchError(f"run {run} is ignored: {error.path} {error.why}", remedy=error.remedy)


def _folders(root: Path | None) -> list[Path]:
    runs = root or runs_folder()
    try:
        ensure_private_folder(runs, root, create=False)
        return [folder for folder in runs.iterdir() if folder.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OrchError(
            f"the runs of this machine cannot be read: {runs}: {error.strerror}",
            remedy="name another place with XDG_STATE_HOME",
        ) from None
