"""What a run has written in its working folder: the files that changed since it began on this node.

A change is seen by the time of the inode's last change (ctime), which nothing but the clock sets: a
file that was copied there with an old mtime counts, one that an earlier run left does not. Nor does what
orch has placed there, for a later launch say.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import files, records
from .placed import as_placed
from .tasks import Tell, deadline

MOST = 200_000  # files of an answer, all its parts together

_LONGEST = 3 << 20  # bytes of a part of the answer: less than what an agent may answer
_OF_ORCH = ".orch-"
_CACHES = frozenset({"__pycache__", ".git", ".hg", ".svn"})
_COARSE = 0.01  # seconds by which the clock of a file system may be behind that of programs
_LOOK_AT_CLOCK = 256  # files between two looks

Found = Tuple[str, os.stat_result]


def changed(
    tell: Tell,
    limit: float,
    run: str,
    node: str,
    workdir: str,
    since: float,
    after: Optional[str] = None,
) -> None:
    """Tell {"files": [[path, bytes, mtime in ns, mode, kind, target, bytes on disk]], "cut": bool}.

    Paths are relative to `workdir`, kinds are "file" and "link" (of which `target` is where it leads,
    else ""). `since` (seconds since the epoch) counts where the run's own record does not say when it
    began. A "cut" answer is not all: ask again for what comes `after` its last path. Raises OSError.
    """
    until = deadline(limit)
    entries: List[List[Any]] = []
    size = 0
    cut = False
    for path, status in _changed(workdir, _began(run, node, since), until, after):
        if size > _LONGEST or len(entries) >= MOST:
            cut = True
            break
        is_link = stat.S_ISLNK(status.st_mode)
        try:
            target = os.readlink(os.path.join(workdir, path)) if is_link else ""
        except OSError:
            continue  # it went, or was replaced, while this looked
        entries.append(
            [
                path,
                0 if is_link else status.st_size,
                status.st_mtime_ns,
                stat.S_IMODE(status.st_mode),
                "link" if is_link else "file",
                target,
                status.st_blocks * 512,
            ]
        )
        size += len(json.dumps(entries[-1])) + 2
    tell({"files": entries, "cut": cut})


def written(tell: Tell, limit: float, run: str, node: str, workdir: str, since: float) -> None:
    """Tell {"files": how many, "bytes": in all, "folder": `workdir` with ~ for home}; see `changed`."""
    until = deadline(limit)
    count = size = 0
    for _, status in _changed(workdir, _began(run, node, since), until, None):
        count += 1
        size += status.st_size
        if count == MOST:
            break
    tell({"files": count, "bytes": size, "folder": _short(workdir)})


def _changed(workdir: str, since: float, until: float, after: Optional[str]) -> Iterator[Found]:
    """Yield the files and links that changed `since`, in the order of their paths' parts.

    Raises TimeoutError once the monotonic clock is past `until`.
    """
    behind = () if after is None else tuple(after.split("/"))
    is_placed = as_placed(workdir)
    for number, (path, status) in enumerate(_walk(workdir, "", behind)):
        if number % _LOOK_AT_CLOCK == 0 and time.monotonic() > until:
            raise TimeoutError("{} has too many files to look at in time".format(workdir))
        if status.st_ctime >= since - _COARSE and not is_placed(path):
            yield path, status


def _walk(folder: str, prefix: str, after: Tuple[str, ...]) -> Iterator[Found]:
    """Yield what is below `folder`, from the first path whose parts come `after`."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        if not prefix:
            raise
        return  # it went while this looked
    except PermissionError:
        return  # a folder of somebody else's: it cannot be fetched either
    for entry in entries:
        if after and entry.name < after[0]:
            continue
        if entry.name in _CACHES or entry.name.startswith(_OF_ORCH):
            continue
        rest = after[1:] if after and entry.name == after[0] else ()
        path = prefix + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                for found_below in _walk(entry.path, path + "/", rest):
                    yield found_below
                continue
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if after and len(after) == 1 and entry.name == after[0]:
            continue  # the last of the part before
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            yield path, status


def _began(run: str, node: str, since: float) -> float:
    """Return when the run began on this node by its own clock, `since` where nothing tells."""
    directory = files.run_directory(run, node)
    times = []
    for number in files.attempts(directory, 0)[:1]:
        attempt = os.path.join(directory, files.attempt_name(number))
        for name in sorted(os.listdir(attempt)):
            record = records.read_rank(os.path.join(attempt, name)) if _is_rank(name) else None
            if record is not None:
                times.append(float(record["started"]))
    status: Optional[Dict[str, Any]] = records.read_status(directory)
    if status is not None and records.is_time(status.get("began")):
        times.append(float(status["began"]))
    return min(times) if times else since


def _is_rank(name: str) -> bool:
    return files.RECORD.match(name) is not None


def _short(path: str) -> str:
    home = os.path.expanduser("~")
    return "~" + path[len(home) :] if path == home or path.startswith(home + "/") else path
