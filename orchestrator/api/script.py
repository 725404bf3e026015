"""The script that a command names, and the folder that is copied to the nodes with it."""

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
    """Return the script's path on this machine, and the folder that is copied to the nodes.

    That is `sync`, or the current folder if the script is below it (it is the script's working folder
    here), or the script's own folder. With `no_python`, a bare name that is not a local file is a program
    on the nodes. Raises UsageError for a folder that is unlikely to be intended, such as the home.
    """
    script = Path(name)
    if no_sync and sync is not None:
        raise UsageError("--sync and --no-sync exclude each other")
    if no_sync:
        return script, None
    if module or (no_python and "/" not in name and not script.exists()):
        return script, sync or _not_refused(Path(), "the current folder")
    fault = _fault_of(script, stat.S_ISREG, "not a file", "no such file")
    if fault is not None:
        meant = _likely_script(script)
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


def _likely_script(script: Path) -> str | None:
    """Return the script that was probably meant: the only one in the folder, or one with a similar name."""
    try:
        if script.is_dir():
            scripts = sorted(script.glob("*.py"))
            found = scripts[0] if len(scripts) == 1 else None
        else:
            files = {file.name: file for file in script.parent.iterdir() if file.is_file()}
            name = nearest(script.name, files)
            found = files[name] if name is not None else None
    except (OSError, ValueError):
        return None
    return None if found is None else escaped(str(found))


def _folder_of(script: Path) -> Path:
    """Return the folder that is copied with `script` if none is named. Raises UsageError."""
    here = Path()
    if why_refused(here) is None and _below(script, here) is not None:
        return here
    return _not_refused(script.parent, f"the folder of {escaped(str(script))}")


def _not_refused(folder: Path, what: str) -> Path:
    """Return `folder`, called `what` in errors. Raises UsageError for one unlikely to be intended."""
    kind = why_refused(folder)
    if kind is None:
        return folder
    place = escaped(str(folder.resolve()))
    raise UsageError(
        f"{what} is {kind} ({place}), and all of it would be copied to every node",
        remedy="launch from a project folder that has the script, or name the folder to copy with "
        "--sync DIR, or copy nothing with --no-sync",
    )


def is_readable_file(script: Path) -> bool:
    """Tell whether `script` is a readable file on this machine."""
    return _fault_of(script, stat.S_ISREG, "", "") is None


def _fault_of(
    path: Path, is_right_kind: Callable[[int], bool], other_kind: str, missing: str
) -> str | None:
    """Return why `path` cannot be used, None if it can."""
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
    """Return the path of `script` relative to `source`, the folder that is copied to the nodes.

    Links are not followed: they are copied as links. Raises UsageError if it is not in that folder.
    """
    below = _below(script, source)
    if below is None:
        raise UsageError(
            f"{script} is not inside {source}, the folder that is synced",
            remedy="name a folder that contains it with --sync DIR",
        )
    return below


def start_folder(source: Path) -> str:
    """Return the current folder relative to `source`, so that the job starts in its copy.

    Empty if it is `source` itself, outside of it, or not copied.
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
        return ""  # the sync reports what cannot be read


def _below(path: Path, folder: Path) -> str | None:
    """Return `path` relative to `folder`, without following links if possible; None if it is outside."""
    if ".." not in path.parts and ".." not in folder.parts:
        try:
            return path.absolute().relative_to(folder.absolute()).as_posix()
        except ValueError:
            pass  # it may be inside through a link
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return None


def workdir_name(source: Path | None) -> str:
    """Return the name of the working folder on the nodes: that of the local folder."""
    name = (source or Path()).resolve().name
    return name if name.isprintable() and name else "job"
