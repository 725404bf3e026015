"""The script that a command names, and the folder that goes to the nodes with it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import UsageError


def script_and_source(
    name: str, *, module: bool, sync: Path | None, no_sync: bool
) -> tuple[Path, Path | None]:
    """Return the script as it can be seen from here, and the folder that goes to the nodes."""
    script = Path(name)
    if no_sync and sync is not None:
        raise UsageError("--sync and --no-sync exclude each other")
    if no_sync:
        return script, None
    if module:
        return script, sync or Path()
    if not script.is_file():
        raise UsageError(
            f"{script}: {'not a file' if script.exists() else 'no such file'}",
            remedy="with --no-sync, SCRIPT is a path on the nodes",
        )
    source = sync or script.parent
    if not source.is_dir():
        raise UsageError(f"--sync {source}: no such folder")
    return script, source


def inside(script: Path, source: Path) -> str:
    """Return the path of `script` relative to `source`, the folder that goes to the nodes.

    Links are not followed: they travel as links. Raises UsageError when it is not in there.
    """
    try:
        return script.absolute().relative_to(source.absolute()).as_posix()
    except ValueError:
        pass  # perhaps by another way, through a link or `..`
    try:
        return script.resolve().relative_to(source.resolve()).as_posix()
    except ValueError:
        raise UsageError(
            f"{script} is not inside {source}, the folder that is synced",
            remedy="name a folder that has it with --sync DIR",
        ) from None


def workdir_name(source: Path | None) -> str:
    """Return the name of the working folder on the nodes: that of the folder here."""
    name = (source or Path()).resolve().name
    return name if name.isprintable() and name else "job"
