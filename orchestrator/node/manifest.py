"""The record of what orch has placed in a working folder of this node, kept outside of that folder.

It is below `~/.local/state/orch/placed/`, in a folder that is named by the real path of the working folder,
for its owner alone. An invalid record counts as missing: then files of the right size and time are taken
for placed, and all others are left alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Set

from . import files

_MAX_BYTES = 256 << 20  # 200,000 files with long names take 60 MB
_FORMAT = 1
_NO_PARTS = frozenset(("", os.curdir, os.pardir))
_KINDS = ("file", "link", "folder")


class Entry(NamedTuple):
    """A file, a link, or a folder that is empty at its source; `path` is relative.

    `size` is of a file, `target` of a link; `mtime_ns` is 0 for a folder, `mode` for a link.
    """

    path: str
    kind: str
    size: int
    mtime_ns: int
    mode: int
    target: str


class Placed(NamedTuple):
    """What orch has placed: the entry as its source had it, and the file's size and time on this node.

    `owner` is the project that it is from, as several may share a working folder.
    """

    source: Entry
    size: int
    mtime_ns: int
    owner: str


class Manifest:
    """The record of one working folder.

    `digest` is of the tree that `owner` has placed last, for `run`, at `time` (seconds since the epoch),
    and empty if that was not completed. `kept` are the entries of it that were not placed, as the files had
    changed here. `pending` are those that an unfinished push of `owner` was sending. `made` are the folders
    that orch made for what it placed.
    """

    def __init__(self) -> None:
        self.owner = self.digest = self.run = ""
        self.time = 0.0
        self.placed: Dict[str, Placed] = {}
        self.kept: Dict[str, Entry] = {}
        self.pending: Dict[str, Entry] = {}
        self.made: Set[str] = set()

    def is_of(self, owner: str, digest: str) -> bool:
        """Return whether the tree with this digest is the one that `owner` has placed last, completely."""
        return bool(digest) and (owner, digest) == (self.owner, self.digest)

    def tree(self) -> List[Entry]:
        """Return the tree that was placed last."""
        own = [placed.source for placed in self.placed.values() if placed.owner == self.owner]
        return sorted([*own, *self.kept.values()])


def state_of(folder: str) -> str:
    """Return orch's own folder for the working folder `folder`, a real path."""
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    return os.path.join(files.state_root(), "placed", name)


def load(state: str) -> Manifest:
    """Return the manifest in `state`; an empty one if there is no valid one.

    Raises OSError if there is one that cannot be read.
    """
    try:
        data = files.read_some(_path(state), _MAX_BYTES + 1)
        return _parse(json.loads(data.decode("utf-8")))
    except (FileNotFoundError, NotADirectoryError, files.NotAFile):
        return Manifest()
    except (ValueError, KeyError, TypeError, RecursionError):
        return Manifest()  # torn by a crash of the machine, or of another version


def save(state: str, folder: str, manifest: Manifest) -> None:
    """Replace the manifest in `state`, all at once. Raises OSError; then it is as it was."""
    files.make_folder(state)
    owners = sorted({placed.owner for placed in manifest.placed.values()})
    number = {owner: index for index, owner in enumerate(owners)}
    value = {
        "format": _FORMAT,
        "folder": folder,
        "owner": manifest.owner,
        "digest": manifest.digest,
        "run": manifest.run,
        "time": manifest.time,
        "owners": owners,
        "placed": [
            [*placed.source, placed.size, placed.mtime_ns, number[placed.owner]]
            for placed in manifest.placed.values()
        ],
        "kept": list(manifest.kept.values()),
        "pending": list(manifest.pending.values()),
        "made": sorted(manifest.made),
    }
    files.write_json(_path(state), value)


def unpack(packed: str) -> List[Entry]:
    """Return the entries of a request: compressed JSON in base 64. Raises ValueError for anything else."""
    return entries_of(inflated(packed))


def inflated(packed: str) -> Any:
    """Return the value that a request has as compressed JSON in base 64. Raises ValueError for others."""
    inflate = zlib.decompressobj()
    data = inflate.decompress(base64.b64decode(packed), _MAX_BYTES)
    if inflate.unconsumed_tail:
        raise ValueError("more than {:d} bytes".format(_MAX_BYTES))
    return json.loads(data.decode("ascii"))


def entries_of(rows: Any) -> List[Entry]:
    """Return the entries that `rows` of JSON describe. Raises ValueError for anything else."""
    if not isinstance(rows, list):
        raise ValueError("not a list of entries")
    return [_entry(row) for row in rows]


def look(folder: str, path: str) -> Optional[Entry]:
    """Return what is at `path` below `folder`; None if nothing is.

    Its kind is "other" if it is not a file, a link or a folder. Raises OSError.
    """
    full = folder + "/" + path  # not join: this runs for every file of every launch
    try:
        status = os.lstat(full)
        if stat.S_ISLNK(status.st_mode):
            return Entry(path, "link", 0, status.st_mtime_ns, 0, os.readlink(full))
    except (FileNotFoundError, NotADirectoryError):
        return None
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Entry(path, "folder", 0, 0, mode, "")
    kind = "file" if stat.S_ISREG(status.st_mode) else "other"
    return Entry(path, kind, status.st_size, status.st_mtime_ns, mode, "")


def _path(state: str) -> str:
    return os.path.join(state, "manifest.json")


def _parse(value: Any) -> Manifest:
    if value["format"] != _FORMAT:
        raise ValueError("of another version")
    manifest = Manifest()
    manifest.owner, manifest.digest = _text(value["owner"]), _text(value["digest"])
    manifest.run, manifest.time = _text(value["run"]), float(value["time"])
    owners = [_text(owner) for owner in value["owners"]]
    for *source, size, mtime_ns, number in value["placed"]:
        entry = _entry(source)
        _require_numbers(size, mtime_ns, number)
        manifest.placed[entry.path] = Placed(entry, size, mtime_ns, owners[number])
    manifest.kept = {entry.path: entry for entry in entries_of(value["kept"])}
    manifest.pending = {entry.path: entry for entry in entries_of(value["pending"])}
    manifest.made = {_below(path) for path in value["made"]}
    return manifest


def _require_numbers(*values: Any) -> None:
    if any(type(value) is not int for value in values):
        raise ValueError("not numbers: {!r}".format(values))


def _entry(row: Any) -> Entry:
    path, kind, size, mtime_ns, mode, target = row
    if kind not in _KINDS or type(target) is not str:
        raise ValueError("not an entry: {!r}".format(row))
    _require_numbers(size, mtime_ns, mode)
    return Entry(_below(path), kind, size, mtime_ns, mode, target)


def _below(path: Any) -> str:
    """Return a relative path that does not lead out of its folder. Raises ValueError for any other."""
    if "\0" in _text(path) or not _NO_PARTS.isdisjoint(path.split("/")):
        raise ValueError("not a path below a folder: {!r}".format(path))
    return str(path)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text: {!r}".format(value))
    return value
