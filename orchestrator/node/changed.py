"""The files of its working folder that a run has written: those that changed since it began on this node.

The time of a change is that of the inode (ctime), which only the clock sets: a file that was copied there
with an old mtime counts, one that an earlier run left does not. Files that orch has placed there, for a
later launch say, do not count.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import files, records
from .placed import as_placed
from .tasks import deadline

_MAX_FILES = 200_000  # in an answer, all its parts together
_MAX_PART_BYTES = 3 << 20  # of a part of the answer: less than an agent may answer
_OWN_PREFIX = ".orch-"
_SKIPPED = frozenset({"__pycache__", ".git", ".hg", ".svn"})
_CLOCK_TOLERANCE = 0.01  # seconds by which the clock of a file system may be behind
_FILES_PER_CLOCK_CHECK = 256

Found = Tuple[str, os.stat_result]


def changed(
    limit: float, run: str, node: str, workdir: str, since: float, after: Optional[str] = None
) -> Dict[str, Any]:
    """Return {"files": [[path, bytes, mtime in ns, mode, kind, target, bytes on disk]], "cut": bool}.

    Paths are relative to `workdir`, kinds are "file" and "link"; `target` is where a link leads, else "".
    `since` (seconds since the epoch) is used if no record of the run has the time at which it began. If
    "cut", there are more: ask again with the last path as `after`. Raises OSError.
    """
    entries: List[List[Any]] = []
    size = 0
    for path, status in _changed(workdir, _began(run, node, since), deadline(limit), after):
        if size > _MAX_PART_BYTES or len(entries) >= _MAX_FILES:
            return {"files": entries, "cut": True}
        is_link = stat.S_ISLNK(status.st_mode)
        try:
            target = os.readlink(os.path.join(workdir, path)) if is_link else ""
        except OSError:
            continue  # it has just been removed or replaced
        kind, length = ("link", 0) if is_link else ("file", status.st_size)
        mode, on_disk = stat.S_IMODE(status.st_mode), status.st_blocks * 512
        entries.append([path, length, status.st_mtime_ns, mode, kind, target, on_disk])
        size += len(json.dumps(entries[-1])) + 2
    return {"files": entries, "cut": False}


def written(limit: float, run: str, node: str, workdir: str, since: float) -> Dict[str, Any]:
    """Return {"files": count, "bytes": in all, "folder": `workdir` with ~ for home}; see `changed`."""
    found = _changed(workdir, _began(run, node, since), deadline(limit), None)
    sizes = [status.st_size for _, status in itertools.islice(found, _MAX_FILES)]
    return {"files": len(sizes), "bytes": sum(sizes), "folder": _short(workdir)}


def _changed(workdir: str, since: float, until: float, after: Optional[str]) -> Iterator[Found]:
    """Yield the files and links that changed `since`, sorted by the parts of their paths.

    Raises TimeoutError once the monotonic clock is past `until`.
    """
    previous = () if after is None else tuple(after.split("/"))
    is_placed = as_placed(workdir)
    for number, (path, status) in enumerate(_walk(workdir, "", previous)):
        if number % _FILES_PER_CLOCK_CHECK == 0 and time.monotonic() > until:
            raise TimeoutError("{} has too many files to check in time".format(workdir))
        if status.st_ctime >= since - _CLOCK_TOLERANCE and not is_placed(path):
            yield path, status


def _walk(folder: str, prefix: str, after: Tuple[str, ...]) -> Iterator[Found]:
    """Yield the files and links below `folder`, from the first path past that with the parts `after`."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        if not prefix:
            raise
        return  # it has just been removed
    except PermissionError:
        return  # a folder of another user: it cannot be fetched either
    for entry in entries:
        if after and entry.name < after[0]:
            continue
        if entry.name in _SKIPPED or entry.name.startswith(_OWN_PREFIX):
            continue
        rest = after[1:] if after and entry.name == after[0] else ()
        path = prefix + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, path + "/", rest)
                continue
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if after and len(after) == 1 and entry.name == after[0]:
            continue  # the last path of the previous part
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            yield path, status


def _began(run: str, node: str, since: float) -> float:
    """Return when the run began on this node by the node's clock; `since` if no record has that."""
    directory = files.run_directory(run, node)
    times = []
    for number in files.attempts(directory, 0)[:1]:
        attempt = files.attempt_folder(directory, number)
        for name in filter(files.RECORD.match, os.listdir(attempt)):
            record = records.read_rank(os.path.join(attempt, name))
            times += [] if record is None else [float(record["started"])]
    status = records.read_status(directory) or {}
    times += [float(status["began"])] if records.is_time(status.get("began")) else []
    return min(times, default=since)


def _short(path: str) -> str:
    home = os.path.expanduser("~")
    return "~" + path[len(home) :] if path == home or path.startswith(home + "/") else path
