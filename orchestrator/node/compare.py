"""Which version of a file wins: what a push sends, what stays as it is, and what it deletes.

What orch placed is replaced and deleted as its source changes. What has changed here since, or was never
placed by orch, stays, unless it is to be overwritten.
"""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Optional, Set, Tuple

from .manifest import Entry, Manifest, Placed

# Nanoseconds: file systems keep times in steps of these.
_STEPS = (1, 100, 1000, 10**6, 10**9, 2 * 10**9)


class Disk:
    """What `compare` asks of the files of a working folder; paths are relative to it."""

    def look(self, path: str) -> Optional[Entry]:
        """Return what stands at `path`, itself and not what a link leads to; None where nothing does."""
        raise NotImplementedError

    def leads_to_folder(self, path: str) -> bool:
        """Tell whether a folder is at the end of the link at `path`."""
        raise NotImplementedError

    def rest(self, path: str, deleted: Set[str]) -> Optional[str]:
        """Return the path of something in the folder at `path` that stays when `deleted` are."""
        raise NotImplementedError


class Comparison:
    """What a push has to do.

    `send` goes over. `found` is there already, as the source has it, and counts as placed: each with what
    is there. `kept` are entries of the tree that stay behind, for what stands there has changed; `left`
    was placed, is gone at its source, has changed here and stays. `delete` was placed and is gone at
    its source. `remove` is overwritten though it is no folder where one is to be. `blocked` cannot be
    brought, by path: what is in the way, and that orch did not place it.
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
        """Whether there is nothing to bring and nothing to delete."""
        return not (self.send or self.delete or self.remove or self.blocked)


def is_source(there: Entry, source: Entry) -> bool:
    """Tell whether what is `there` is the entry of the source, as a push brings it over."""
    if there.kind != source.kind:
        return False
    if there.kind == "file":
        return there.size == source.size and _is_time(there.mtime_ns, source.mtime_ns)
    return there.target == source.target


def is_as_placed(there: Entry, placed: Placed) -> bool:
    """Tell whether nobody has changed what orch placed."""
    if there.kind != placed.source.kind:
        return False
    if there.kind == "file":
        return (there.size, there.mtime_ns) == (placed.size, placed.mtime_ns)
    return there.target == placed.source.target


def _is_time(there: int, source: int) -> bool:
    """Tell whether a file system that keeps times in steps has made `there` of the time `source`."""
    return any(there == source - source % step for step in _STEPS)


def compare(
    tree: Iterable[Entry], manifest: Manifest, owner: str, disk: Disk, overwrite: bool = False
) -> Comparison:
    """Return what a push of `tree` by `owner` has to do."""
    entries = {entry.path: entry for entry in tree}
    result = Comparison()
    _judge_gone(entries, manifest, owner, disk, result)
    deleted = set(result.delete)
    ways = _Ways(disk, deleted, overwrite)
    for path, entry in entries.items():
        obstacle, is_open = ways.to(path)
        if obstacle is not None:
            result.blocked[path] = obstacle
            continue
        there = disk.look(path) if is_open else None
        if there is None:
            result.send.append(entry)
        elif there.kind != "folder":
            _judge(entry, there, manifest, disk, overwrite, result)
        elif entry.kind == "folder":
            result.found.append((entry, there))
        else:
            rest = disk.rest(path, deleted)
            if rest is None:
                result.send.append(entry)
            else:
                result.blocked[path] = rest
    result.remove = sorted(ways.removed)
    return result


def is_untouched(manifest: Manifest, owner: str, disk: Disk) -> bool:
    """Tell whether all of the tree that `owner` has placed last is as it was placed.

    Then there is nothing to do for that tree; it takes a fraction of the time of `compare`.
    """
    for path, placed in manifest.placed.items():
        if placed.owner == owner:
            there = disk.look(path)
            if there is None or not is_as_placed(there, placed):
                return False
    return not manifest.kept


def _judge(
    entry: Entry, there: Entry, manifest: Manifest, disk: Disk, overwrite: bool, result: Comparison
) -> None:
    """Judge an entry in whose place something is that is no folder."""
    placed = manifest.placed.get(entry.path)
    if placed is not None and is_as_placed(there, placed):
        known = placed.source
    elif is_source(there, entry):
        known = entry._replace(mode=there.mode)
    elif entry.kind == "folder" and there.kind == "link" and disk.leads_to_folder(entry.path):
        known = entry
    else:
        (result.send if overwrite else result.kept).append(entry)
        return
    if known == entry:
        result.found.append((entry, there))
    else:
        result.send.append(entry)


def _judge_gone(
    entries: Dict[str, Entry], manifest: Manifest, owner: str, disk: Disk, result: Comparison
) -> None:
    """Find what `owner` has placed and what is gone at its source."""
    needed = {folder for path in entries for folder in above(path)}
    for path, placed in sorted(manifest.placed.items()):
        if placed.owner != owner or path in entries:
            continue
        there = disk.look(path)
        if there is None or (path in needed and there.kind == "folder"):
            continue
        (result.delete if is_as_placed(there, placed) else result.left).append(path)


class _Ways:
    """Tells whether an entry can come to its place, past what stands above it."""

    def __init__(self, disk: Disk, deleted: Set[str], overwrite: bool) -> None:
        self._disk, self._deleted, self._overwrite = disk, deleted, overwrite
        self._is_open: Dict[str, Optional[bool]] = {}  # by folder; None where it is an obstacle
        self.removed: Set[str] = set()

    def to(self, path: str) -> Tuple[Optional[str], bool]:
        """Return what blocks the way to `path`, None if nothing does, and whether the folder that it lies
        in is there now and stays.
        """
        for folder in above(path):
            if folder not in self._is_open:
                self._is_open[folder] = self._judge(folder)
            is_open = self._is_open[folder]
            if is_open is None:
                return folder, False
            if not is_open:
                return None, False
        return None, True

    def _judge(self, folder: str) -> Optional[bool]:
        there = self._disk.look(folder)
        if there is None or folder in self._deleted:
            return False
        if there.kind == "folder":
            return True
        if there.kind == "link" and self._disk.leads_to_folder(folder):
            return True
        if not self._overwrite:
            return None
        self.removed.add(folder)
        return False


def above(path: str) -> Iterator[str]:
    """Yield the folders above a relative path, the outermost first."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
