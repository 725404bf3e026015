"""Small files of /proc, /sys and /etc, where any of them may be missing or unreadable."""

from __future__ import annotations

import os
import pwd
from typing import List, Optional

_MOST = 1 << 20  # bytes: no file that a probe wants is longer


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


def user(uid: int) -> str:
    """Return the name that /etc/passwd has for `uid`, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def below(root: str, path: str) -> str:
    """Return the absolute `path` as it is called below `root`."""
    return os.path.join(root, path.lstrip("/"))
