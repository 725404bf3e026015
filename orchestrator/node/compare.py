"""Which version of a file wins: what a push sends, what it keeps, and what it deletes.

What orch placed is replaced and deleted as its source changes. What has changed here since, or was never
placed by orch, is kept, unless it is to be overwritten.
"""

from __future__ import annotations

import os
from typing import Dict, Iterable, Iterator, List, Optional, Set, Tuple

from . import manifest
from .manifest import Entry, Manifest, Placed

CACHE = "__pycache__"
# Nanoseconds: file systems keep times in steps of these.
_STEPS = (1, 100, 1000, 10**6, 10**9, 2 * 10**9)


class Folder:
    """The files of a working folder; paths are relative to it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def at(self, path: str) -> str:
        """Return the absolute path."""
        return os.path.join(self.path, path)

    def look(self, path: str) -> Optional[Entry]:
        """Return what is at `path`, without following a link; None if nothing is."""
        return manifest.look(self.path, path)

    def leads_to_folder(self, path: str) -> bool:
        """Return whether `path` is a folder, or a link to one."""
        return os.path.isdir(self.at(path))

    def rest(self, path: str, deleted: Set[str]) -> Optional[str]:
        """Return the path of something in the folder at `path` that stays when `deleted` are removed."""
        for folder, folders, names in os.walk(self.at(path)):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in names + links:
                there = os.path.relpath(os.path.join(folder, name), self.path)
                if there not in deleted and not _is_cache(there):
                    return there
        return None


def _is_cache(path: str) -> bool:
    """Return whether it is a module beside it that Python has compiled."""
    return path.endswith(".pyc") and os.path.basename(os.path.dirname(path)) == CACHE


class Comparison:
    """What a push has to do.

    `send` are entries to transfer. `found` are there already, as the source has them, and count as placed:
    each with what is there. `kept` are entries of the tree that are not sent, as what is there has changed;
    `left` were placed, are gone at their source, have changed here and stay. `delete` were placed and are
    gone at their source. `remove` are overwritten because a folder is needed in their place. `blocked` are
    paths that cannot be sent, each with what is in the way and was not placed by orch.
    """

    def __init__(self) -> None:
        self.send: List[Entry] = []
        self.found: List[Tuple[Entry, Entry]] = []
        self.kept: List[Entry] = []
        self.left: List[str] = []
        self.delete: List[str] = []
        self.remove: List[str] = []
        self.blocked: Dict[str, str] = {}

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to send and nothing to delete."""
        return not (self.send or self.delete or self.remove or self.blocked)


def is_source(there: Entry, source: Entry) -> bool:
    """Return whether what is `there` is the entry of the source, as a push transfers it."""
    if there.kind != source.kind:
        return False
    if there.kind != "file":
        return there.target == source.target
    # A file system that keeps times in steps has rounded the time.
    rounded = (source.mtime_ns - source.mtime_ns % step for step in _STEPS)
    return there.size == source.size and there.mtime_ns in rounded


def is_as_placed(there: Entry, placed: Placed) -> bool:
    """Return whether what orch placed is unchanged."""
    if there.kind != placed.source.kind:
        return False
    if there.kind == "file":
        return (there.size, there.mtime_ns) == (placed.size, placed.mtime_ns)
    return there.target == placed.source.target


def compare(
    tree: Iterable[Entry], record: Manifest, owner: str, folder: Folder, overwrite: bool = False
) -> Comparison:
    """Return what a push of `tree` by `owner` has to do."""
    entries = {entry.path: entry for entry in tree}
    result = Comparison()
    needed = {parent for path in entries for parent in above(path)}
    for path, placed in sorted(record.placed.items()):
        if placed.owner != owner or path in entries:
            continue
        there = folder.look(path)
        if there is None or (path in needed and there.kind == "folder"):
            continue
        (result.delete if is_as_placed(there, placed) else result.left).append(path)
    deleted = set(result.delete)
    parents = _Parents(folder, deleted, overwrite)
    for path, entry in entries.items():
        obstacle, is_open = parents.of(path)
        there = folder.look(path) if is_open else None
        if there is not None and there.kind == "folder" and entry.kind != "folder":
            obstacle, there = folder.rest(path, deleted), None
        if obstacle is not None:
            result.blocked[path] = obstacle
        elif there is None:
            result.send.append(entry)
        else:
            known = _known(entry, there, record, folder)
            if known == entry:
                result.found.append((entry, there))
            else:
                (result.kept if known is None and not overwrite else result.send).append(entry)
    result.remove = sorted(parents.removed)
    return result


def is_untouched(record: Manifest, owner: str, folder: Folder) -> bool:
    """Return whether all of the tree that `owner` has placed last is as it was placed.

    Then there is nothing to do for that tree; it takes a fraction of the time of `compare`.
    """
    for path, placed in record.placed.items():
        if placed.owner == owner:
            there = folder.look(path)
            if there is None or not is_as_placed(there, placed):
                return False
    return not record.kept


def _known(entry: Entry, there: Entry, record: Manifest, folder: Folder) -> Optional[Entry]:
    """Return the entry of a source that is `there`, in place of `entry`; None if it is none."""
    if there.kind == entry.kind == "folder":
        return entry
    placed = record.placed.get(entry.path)
    if placed is not None and is_as_placed(there, placed):
        return placed.source
    if is_source(there, entry):
        return entry._replace(mode=there.mode)
    if entry.kind == "folder" and there.kind == "link" and folder.leads_to_folder(entry.path):
        return entry
    return None


class _Parents:
    """Finds whether an entry can be placed, given what is in place of the folders above it."""

    def __init__(self, folder: Folder, deleted: Set[str], overwrite: bool) -> None:
        self._folder, self._deleted, self._overwrite = folder, deleted, overwrite
        self._is_open: Dict[str, Optional[bool]] = {}  # by folder; None if it is an obstacle
        self.removed: Set[str] = set()

    def of(self, path: str) -> Tuple[Optional[str], bool]:
        """Return the obstacle above `path`, None without one, and whether its folder exists and stays."""
        for folder in above(path):
            if folder not in self._is_open:
                self._is_open[folder] = self._judge(folder)
            if not self._is_open[folder]:
                return (folder if self._is_open[folder] is None else None), False
        return None, True

    def _judge(self, path: str) -> Optional[bool]:
        there = self._folder.look(path)
        if there is None or path in self._deleted:
            return False
        if there.kind in ("folder", "link") and self._folder.leads_to_folder(path):
            return True
        if not self._overwrite:
            return None
        self.removed.add(path)
        return False


def above(path: str) -> Iterator[str]:
    """Yield the folders above a relative path, the outermost first."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
