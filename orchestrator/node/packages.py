"""The packages of orch's node side that stand on this node, and which of them nobody needs any more.

A supervisor lives on with the package that it was started from: the ranks that its launcher starts again
go through the shim in it. A home may be shared by nodes that do not see each other's processes, so who
uses a package says so by its time of last change.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import Set

_NAME = re.compile(r"(node-[0-9a-f]{16})(\.[A-Za-z0-9_-]+)?\.pyz(\.[0-9a-f]+\.tmp)?\Z")
_HOUR = 3600.0
_UNUSED_AFTER = 7 * 24 * _HOUR  # seconds


def mark_as_used() -> None:
    """Show those who tidy up that this very package is in use; once an hour is enough."""
    try:
        if time.time() - os.stat(sys.argv[0]).st_mtime > _HOUR:
            os.utime(sys.argv[0])
    except OSError:
        pass  # it was removed, or the home cannot be written: nothing that could be done here


def remove_unused() -> int:
    """Remove packages, their compiled twins and half uploads, for a week in no use; return the bytes."""
    folder, own = os.path.split(os.path.abspath(sys.argv[0]))
    matches = [match for match in map(_NAME.match, os.listdir(folder)) if match is not None]
    used = _used() | {own[: -len(".pyz")]}
    # Its twin may be older than a package that is in use: one young file saves all of its name.
    used.update(m.group(1) for m in matches if _is_young(os.path.join(folder, m.group())))
    unused = [os.path.join(folder, m.group()) for m in matches if m.group(1) not in used]
    return sum(map(_remove, unused))


def _is_young(path: str) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime < _UNUSED_AFTER
    except FileNotFoundError:
        return False


def _remove(path: str) -> int:
    try:
        size = os.lstat(path).st_blocks * 512
        os.unlink(path)
    except FileNotFoundError:
        return 0  # a node that shares the home was quicker
    return size


def _used() -> Set[str]:
    """Return the packages that command lines of live processes name."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/cmdline".format(pid), "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue  # it has just ended
        for word in words:
            match = _NAME.match(os.fsdecode(os.path.basename(word)))
            if match is not None:
                found.add(match.group(1))
    return found
