"""The mounted file systems of a process, as proc(5) describes them."""

from __future__ import annotations

import re
from typing import Dict, FrozenSet, List, NamedTuple, Optional

from . import read

_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount: its type, such as "nfs4", what is mounted, and whether that is read-only.

    `shows` is which part of the file system is there, `device` its number as in "259:1"; `options` are
    those of the file system, not of this mount.
    """

    point: str
    kind: str
    source: str
    read_only: bool
    shows: str = "/"
    device: str = ""
    options: FrozenSet[str] = frozenset()


def mounts(root: str = "/") -> List[Mount]:
    """Return all mounts, in the order in which they were made."""
    found = []
    for line in read.lines(root, "/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, more = left.split(" "), right.split(" ")
        if len(fields) > 5 and len(more) > 2:
            options = frozenset(more[2].split(","))
            found.append(
                Mount(
                    point=_plain(fields[4]),
                    kind=more[0],
                    source=_plain(more[1]),
                    read_only="ro" in options.union(fields[5].split(",")),
                    shows=_plain(fields[3]),
                    device=fields[2],
                    options=options,
                )
            )
    return found


def mount_of(path: str, among: List[Mount]) -> Optional[Mount]:
    """Return the mount that `path` is on: the longest point above it; of two, the one on top."""
    above: Dict[str, Mount] = {
        each.point: each for each in among if (path + "/").startswith(each.point.rstrip("/") + "/")
    }
    return above[max(above, key=len)] if above else None


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
