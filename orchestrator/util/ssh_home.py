"""The home folder of ssh: that of the user database, whatever $HOME says."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from orchestrator.util.text import printable


def ssh_home() -> Path:
    """Return the folder whose .ssh ssh reads, and that `~` and %d stand for in ssh_config."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # ssh itself refuses to run
        return Path.home()


def tilde(path: str) -> str:
    """Return `path` with a leading `~` expanded as ssh does; `~USER` of an unknown user is unchanged."""
    if path == "~" or path.startswith("~/"):
        return f"{ssh_home()}{path[1:]}"
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for an unknown user


def with_tilde(path: str) -> str:
    """Return `path` for a message, with `~` for the home folder."""
    home = f"{ssh_home()}/"
    return printable(f"~/{path.removeprefix(home)}" if path.startswith(home) else path)


def unread_folder() -> Path | None:
    """Return the .ssh in $HOME if ssh does not read it, because $HOME is another folder than its home."""
    mine, used = Path.home() / ".ssh", ssh_home() / ".ssh"
    return mine if mine.is_dir() and not (used.exists() and mine.samefile(used)) else None
