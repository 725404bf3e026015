"""The script that a command names, and the folder that goes to the nodes with it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import SyncError, UsageError
from orchestrator.sync.left_out import why_left_out
from orchestrator.sync.refused import why_refused
from orchestrator.util.text import escaped, nearest


def script_and_source(
    name: str, *, module: bool, sync: Path | None, no_sync: bool, no_python: bool = False
) -> tuple[Path, Path | None]:
    """Return the script as it can be seen from here, and the folder that goes to the nodes.

    Unless `sync` names it, that is the current folder where the script lies below it, as it would be the
    script's working folder here; else the script's own. With `no_python`, a bare name that is no file here
    is one of the nodes' own programs. Raises UsageError where the folder is one that nobody means to send.
    """
    script = Path(name)
    if no_sync and sync is not None:
        raise UsageError("--sync and --no-sync exclude each other")
    if no_sync:
        return script, None
    if module or (no_python and "/" not in name and not script.exists()):
        return script, sync or _meant(Path(), "the current folder")
    fault = _fault_of(script, stat.S_ISREG, "not a file", "no such file")
    if fault is not None:
        meant = _meant_script(script)
        remedy = "with --no-sync, SCRIPT is a path on the nodes"
        if meant is not None:
            remedy = f"did you mean {meant}? ({remedy})"
        elif "/" not in name and shutil.which(name) is not None:
            shown = escaped(name)
            remedy = (
                f"to run a program of the nodes as the ranks: orch launch --no-python {shown}; "
                f"to run it once on each node: orch exec -- {shown}"
            )
        raise UsageError(f"{escaped(name)}: {fault}", remedy=remedy)
    source = sync or _folder_of(script)
    fault = _fault_of(source, stat.S_ISDIR, "not a folder", "no such folder")
    if fault is not None:
        raise UsageError(f"--sync {escaped(str(source))}: {fault}")
    return script, source


def _meant_script(script: Path) -> str | None:
    """Return the script that somebody meant who named `script`: one in that folder, or of a like name."""
    try:
        if script.is_dir():
            scripts = sorted(script.glob("*.py"))
            found = scripts[0] if len(scripts) == 1 else None
        else:
            there = {file.name: file for file in script.parent.iterdir() if file.is_file()}
            name = nearest(script.name, there)
            found = there[name] if name is not None else None
    except (OSError, ValueError):
        return None
    return None if found is None else escaped(str(found))


def _folder_of(script: Path) -> Path:
    """Return the folder that goes with `script` where none is named. Raises UsageError."""
    here = Path()
    if why_refused(here) is None and _below(script, here) is not None:
        return here
    return _meant(script.parent, f"the folder of {escaped(str(script))}")


def _meant(folder: Path, what: str) -> Path:
    """Return `folder`, `what` would go to the nodes, unless it is one that nobody means to send."""
    kind = why_refused(folder)
    if kind is None:
        return folder
    place = escaped(str(folder.resolve()))
    raise UsageError(
        f"{what} is {kind} ({place}), and it would be copied to every node with all that is in it",
        remedy="launch from a project folder that has the script, or name the folder to copy with "
        "--sync DIR, or copy nothing with --no-sync",
    )


def can_be_seen(script: Path) -> bool:
    """Tell whether there is such a file on this machine."""
    return _fault_of(script, stat.S_ISREG, "", "") is None


def _fault_of(
    path: Path, is_right_kind: Callable[[int], bool], other_kind: str, missing: str
) -> str | None:
    """Return why `path` does not serve, None if it does."""
    try:
        if not is_right_kind(path.stat().st_mode):
            return other_kind
        return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)
    except (FileNotFoundError, NotADirectoryError):
        return missing
    except OSError as error:
        return str(error.strerror)
    except ValueError as error:  # a NUL in the path
        return str(error)


def inside(script: Path, source: Path) -> str:
    """Return the path of `script` relative to `source`, the folder that goes to the nodes.

    Links are not followed: they travel as links. Raises UsageError when it is not in there.
    """
    below = _below(script, source)
    if below is None:
        raise UsageError(
            f"{script} is not inside {source}, the folder that is synced",
            remedy="name a folder that has it with --sync DIR",
        )
    return below


def start_folder(source: Path) -> str:
    """Return the folder within `source` that is the current one here, so that the job starts in its copy.

    Empty where that is `source` itself, or not in it, or does not go.
    """
    try:
        folder = _below(Path(), source)
    except OSError:  # the current folder is gone
        return ""
    if folder in (None, "."):
        return ""
    try:
        return folder if why_left_out(source.absolute(), folder) is None else ""
    except SyncError:
        return ""  # the sync tells of what cannot be read


def _below(path: Path, folder: Path) -> str | None:
    """Return `path` relative to `folder`, None if it is not in there; links are not followed, if it is."""
    if ".." not in path.parts and ".." not in folder.parts:
        try:
            return path.absolute().relative_to(folder.absolute()).as_posix()
        except ValueError:
            pass  # perhaps by another way, through a link
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return None


def workdir_name(source: Path | None) -> str:
    """Return the name of the working folder on the nodes: that of the folder here."""
    name = (source or Path()).resolve().name
    return name if name.isprintable() and name else "job"
