"""Folders that users rarely mean to copy to other machines: they are sent only if named explicitly."""

from __future__ import annotations

import os
import pwd
import tempfile
from contextlib import suppress
from pathlib import Path

_SYSTEM = (
    "/bin", "/boot", "/dev", "/dev/shm", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt",
    "/opt", "/proc", "/private/tmp", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr",
    "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/sbin",
    "/usr/src", "/var", "/var/tmp", "/Applications", "/Library", "/System", "/Users",
    "/Volumes",
)  # fmt: skip


def why_refused(folder: Path) -> str | None:
    """Return what `folder` is, if it is sent only if named explicitly; None for any other folder."""
    place = Path(os.path.realpath(folder))
    if place == Path(place.anchor):
        return "the root of the file system"
    for home in _homes():
        if place == home:
            return "your home folder"
        if home.is_relative_to(place):
            return "a folder that contains your home folder"
    temporary = {
        Path(os.path.realpath(each)) for each in (tempfile.gettempdir(), "/tmp", "/var/tmp")
    }
    if place in temporary:
        return "a shared folder of temporary files"
    if str(place) in _SYSTEM:
        return "a system folder"
    return None


def _homes() -> set[Path]:
    """Return the home folders according to the environment and to the system."""
    homes = {os.path.expanduser("~")}  # noqa: PTH111 - Path.home raises if there is none
    with suppress(KeyError):  # a user without an entry has only HOME
        homes.add(pwd.getpwuid(os.getuid()).pw_dir)
    # In a container, a home may be missing or be the root, which is refused anyway.
    return {Path(os.path.realpath(home)) for home in homes if home.startswith("/") and home != "/"}
