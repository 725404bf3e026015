"""Small files, links and folders of /proc, /sys and /etc, where any may be missing or unreadable."""

from __future__ import annotations

import os
import pwd
from typing import Dict, List, Optional

_MOST = 1 << 20  # bytes: no file that a probe wants is longer
_LONGEST_COMMAND = 200


def text(root: str, path: str) -> Optional[str]:
    """Return what the file at `path` below `root` holds, without blanks around; None if unreadable."""
    try:
        with open(below(root, path), "rb") as file:
            return file.read(_MOST).decode("utf-8", "replace").strip()
    except OSError:
        return None


def names(root: str, path: str) -> List[str]:
    """Return the sorted names in the folder at `path` below `root`; none if it is unreadable."""
    try:
        return sorted(os.listdir(below(root, path)))
    except OSError:
        return []


def link(root: str, path: str) -> Optional[str]:
    """Return what the link at `path` below `root` leads to, as it is written; None if unreadable."""
    try:
        return os.readlink(below(root, path))
    except OSError:
        return None


def driver(root: str, device: str) -> Optional[str]:
    """Return the name of the driver of a device's folder in /sys; None without one."""
    target = link(root, device + "/driver")
    return None if target is None else os.path.basename(target)


def owner(root: str, pid: int) -> Optional[str]:
    """Return the user of a process; None where there is no such process (any more)."""
    try:
        return user(os.stat(below(root, "/proc/{:d}".format(pid))).st_uid)
    except OSError:
        return None


def command(root: str, pid: int) -> str:
    """Return the command line of a process, else its name, else `?`: at most 200 printable characters."""
    place = "/proc/{:d}/".format(pid)
    words = (text(root, place + "cmdline") or "").replace("\0", " ").strip()
    name = words or text(root, place + "comm") or "?"
    return "".join(c if c.isprintable() else "?" for c in name[:_LONGEST_COMMAND])


def environment(root: str, pid: int) -> Dict[str, str]:
    """Return the variables of a process; none where they may not be read."""
    entries = (text(root, "/proc/{:d}/environ".format(pid)) or "").split("\0")
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def run(root: str, pid: int) -> Optional[str]:
    """Return orch's name of the run that a process belongs to; None where that does not show."""
    return environment(root, pid).get("ORCH_RUN")


def user(uid: int) -> str:
    """Return the name that /etc/passwd has for `uid`, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def below(root: str, path: str) -> str:
    """Return the absolute `path` as it is called below `root`."""
    return os.path.join(root, path.lstrip("/"))
