"""The control groups that this process is in (cgroups(7), versions 1 and 2)."""

from __future__ import annotations

import os
from typing import List, NamedTuple, Optional, Tuple

from . import read
from .mounts import mounts


class Group(NamedTuple):
    """A control group: the mount point of its hierarchy, its path below that, and the version."""

    mount: str
    path: str
    version: int

    @property
    def folders(self) -> List[str]:
        """Its folder and those of the groups that it is in, which limit it too."""
        paths = [self.path]
        while paths[-1] not in ("/", ""):
            paths.append(os.path.dirname(paths[-1]))
        return [self.mount + path for path in paths]


def own(root: str, controller: str) -> Optional[Group]:
    """Return the group of this process in which `controller` counts; None if /proc shows none."""
    for version in (1, 2):
        path = _own_path(root, controller, version)
        mount = _mount(root, controller, version)
        if path is None or mount is None:
            continue
        point, top = mount
        # In a container without a namespace of its own, the mount shows a part of the whole tree.
        if top != "/" and (path + "/").startswith(top + "/"):
            path = path[len(top) :] or "/"
        if ".." in path.split("/") or not os.path.isdir(read.below(root, point + path)):
            path = "/"
        return Group(point, path, version)
    return None


def _own_path(root: str, controller: str, version: int) -> Optional[str]:
    for line in read.lines(root, "/proc/self/cgroup"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if version == 1 and controller in controllers.split(","):
            return path
        if version == 2 and number == "0" and not controllers:
            return path
    return None


def _mount(root: str, controller: str, version: int) -> Optional[Tuple[str, str]]:
    """Return (mount point, the group that it shows)."""
    for each in mounts(root):
        if version == 2 and each.kind == "cgroup2":
            return each.point, each.shows
        if version == 1 and each.kind == "cgroup" and controller in each.options:
            return each.point, each.shows
    return None


def refused_forks(root: str = "/", group: Optional[Group] = None) -> Optional[int]:
    """Return how often a limit on processes of this process's groups was hit; None without a count."""
    group = group or own(root, "pids")
    if group is None:
        return None
    counts = [
        read.counts(root, os.path.join(folder, "pids.events")).get("max")
        for folder in group.folders
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def tightest_pids(root: str, group: Group) -> Optional[Tuple[str, int, int]]:
    """Return (path, limit, count) of the group that may start the fewest processes; None without one."""
    found = []
    for folder in group.folders:
        limit, count = (
            read.text(root, os.path.join(folder, name)) or ""
            for name in ("pids.max", "pids.current")
        )
        if limit.isdigit() and count.isdigit():
            path = folder[len(group.mount) :] or "/"
            found.append((path, int(limit), int(count)))
    return min(found, key=lambda each: each[1] - each[2], default=None)
