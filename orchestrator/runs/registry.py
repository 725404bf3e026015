"""The runs of this machine.

Each function raises OrchError if their folder cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
"""The name that stands for the latest run."""


def all_runs(root: Path | None = None) -> list[SavedRun]:
    """Return the runs below `root`, the latest first, except unreadable and untrusted ones."""
    found = [saved for folder in _folders(root) if (saved := load_run(folder)) is not None]
    return sorted(found, key=lambda saved: saved.began, reverse=True)


def unreadable_runs(root: Path | None = None) -> list[Path]:
    """Return the folders below `root` without a readable record, as after a crash."""
    return [
        folder
        for folder in _folders(root)
        if load_run(folder) is None and why_untrusted(folder) is None
    ]


def untrusted_runs(root: Path | None = None) -> list[Untrusted]:
    """Return, for each run below `root` that another user may have written, why it is left out."""
    return [error for folder in _folders(root) if (error := why_untrusted(folder)) is not None]


def find_run(name: str | None = None, root: Path | None = None) -> SavedRun:
    """Return the run with this name, or with this unique prefix of its name or of the name's last part.

    None: the latest. Raises UsageError if there is no such run, or more than one.
    """
    saved = _latest(root) if name in (None, LATEST) else _named(name or "", root)
    log.info("run %s, %s: read from %s", saved.run, saved.state, saved.folder)
    return saved


def _latest(root: Path | None) -> SavedRun:
    runs = all_runs(root)
    if runs:
        return runs[0]
    _refuse_untrusted(_folders(root))
    raise UsageError("there is no run yet", remedy="start one: orch launch SCRIPT")


def active_runs(name: str | None = None, root: Path | None = None) -> list[SavedRun]:
    """Return the runs that have not ended, the latest first; only those that `name` may mean, if given."""
    runs = [saved for saved in all_runs(root) if not saved.has_ended]
    if name is None:
        return runs
    names = names_like(name, root)
    return [saved for saved in runs if saved.run in names]


def names_like(name: str, root: Path | None = None) -> list[str]:
    """Return the names of the runs that `name` may mean."""
    return matching(name, [folder.name for folder in _folders(root)])


@contextmanager
def unless_pruned(saved: SavedRun) -> Iterator[None]:
    """Raise OrchError instead of FileNotFoundError in this context if the run was removed."""
    try:
        yield
    except FileNotFoundError:
        if load_run(saved.folder) is not None:
            raise
        raise OrchError(
            f"run {saved.run} was removed while it was read", remedy="list the runs: orch runs"
        ) from None
    except OSError as error:
        if error.filename is None or not Path(error.filename).is_relative_to(saved.folder):
            raise  # some other file, such as the output
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
        raise UsageError(f"{name!r} may be any of {some}", remedy="type more of the name")
    _refuse_untrusted(names[other] for other in meant)
    if meant:
        raise UsageError(
            f"{names[meant[0]]} has no record of a run that can be read",
            remedy="if another version of orch wrote it, use that one; "
            "orch runs --prune removes the remains of a crash",
        )
    like = _nearest(name, list(names))
    hint = f" (did you mean {like!r}?)" if like else ""
    raise UsageError(f"there is no run {name!r}{hint}", remedy="list the runs: orch runs")


def _nearest(name: str, names: list[str]) -> str | None:
    """Return the name of the run that is most similar to `name`, in whole or in part."""
    parts = {
        part: each
        for each in names
        for part in (*each.rpartition("-")[::2], each)
        if part
    }  # fmt: skip
    like = nearest(name, parts)
    return None if like is None else parts[like]


def _refuse_untrusted(folders: Iterable[Path]) -> None:
    """Raise OrchError for the first folder of a run that another user may have written."""
    for folder in folders:
        if (error := why_untrusted(folder)) is not None:
            message = f"run {folder.name} is ignored: {error.path} {error.why}"
            raise OrchError(message, remedy=error.remedy)


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
            remedy="set XDG_STATE_HOME to another folder",
        ) from None
