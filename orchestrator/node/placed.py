"""Place the files of a project in its working folder on this node, in steps that may be cut off anywhere.

    enter    find the folder, take the turn, and check whether all is there as it was placed last
    compare  compare the listing of the source, and return what to send
    begin    record what is about to be sent, and delete what is gone at the source
    settle   record what has arrived

Between `begin` and `settle` rsync transfers the files, each in one step under its name. If all is killed in
between, the record of `begin` shows which have arrived. A few small files come in the request `place`:
`begin`, `arrive.py` and `settle` in one.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

from . import arrive, files, manifest, project
from .compare import (
    CACHE,
    Comparison,
    Folder,
    above,
    compare,
    is_as_placed,
    is_source,
    is_untouched,
)
from .folder_identity import identity
from .holds import Hold, Turn, runs_in
from .manifest import Entry, Manifest, Placed

_MAX_SHOWN = 20  # paths of a kind in an answer, beside their number


class Placing:
    """One run's work on one folder; its `hold` lasts until it leaves, or the run's supervisor ends."""

    def __init__(self, run: str, node: str) -> None:
        files.run_directory(run, node)  # raises ValueError for an invalid name
        self._run, self._node = run, node
        self.hold = Hold()
        self.turn = Turn()
        self._folder = Folder("")
        self._state = self._owner = self._digest = ""
        self._overwrite = False
        self._names: List[str] = []
        self._manifest = Manifest()
        self._tree: List[Entry] = []
        self._comparison = Comparison()

    def enter(
        self,
        workdir: str,
        own: bool,
        owner: str,
        source: str,
        digest: Optional[str],
        names: List[str],
        overwrite: bool,
        again: bool,
    ) -> Dict[str, Any]:
        """Start to work in a folder: `workdir`, or the project's `own` folder of that name.

        `digest` is of the tree to place (None: nothing is placed). With `again` it is enough that nothing
        else was placed since; else every file is checked. `names` are files to report if they are there and
        were not placed.

        Returns {"busy": the run that has the turn}, and then nothing was done, or else {"workdir", "new",
        "passed": [[path, source]], "others": [runs that work there], "run": that placed last, "time": when,
        "same": whether this is what was placed last, "done": whether nothing is to be done}, the results of
        a comparison, "have": [of the names], and "identity" of the folder (`folder_identity.py`).
        Unless it is done, the turn lasts to `settle`.
        """
        places = digest is not None
        found = project.Folder(os.path.abspath(os.path.expanduser(workdir)), False, [])
        if own:
            found = project.find(workdir, owner, source, create=places)
        if places:
            os.makedirs(found.path, exist_ok=True)
        self._folder = Folder(os.path.realpath(found.path))
        self._state = manifest.state_of(self._folder.path)
        self._owner, self._digest, self._names = owner, digest or "", names
        self._overwrite = overwrite
        busy = self.turn.take(self._state, self._run)
        if busy not in (
            None,
            self._run,
        ):  # its own: another node that shares orch's own folder has it
            return {"busy": busy}
        try:
            answer = {
                "workdir": found.path,
                "new": found.is_new,
                "passed": found.passed,
                "identity": identity(found.path) if places else "",
                "others": runs_in(self._state, self._run),
            }
            self.hold.take(self._state, self._run, self._node)
            answer.update(self._check(again))
            if answer["done"] or not places:
                self.turn.give_up()
        except BaseException:
            self.leave()
            raise
        return answer

    def compare(self, tree: str) -> Dict[str, Any]:
        """Compare the packed entries of the source with what is here; return the results.

        {"send": [[first, end], ...] of the positions in the tree, "kept", "left": [paths], "counts": of
        these two, "delete": count, "blocked": [[path, what is in the way]]}.
        """
        self._tree = manifest.unpack(tree)
        self._comparison = self._compare(self._tree)
        return self._results()

    def begin(self) -> None:
        """Record what is about to be sent, and delete what is gone at the source."""
        record, comparison = self._manifest, self._comparison
        record.owner, record.digest, record.run = self._owner, "", self._run
        record.pending = {entry.path: entry for entry in comparison.send}
        gone = set(comparison.delete) | set(comparison.remove)
        record.made |= _missing_folders(record.pending, gone, self._folder)
        manifest.save(self._state, self._folder.path, record)
        for path in comparison.delete:
            there = self._folder.look(path)
            if there is None or not is_as_placed(there, record.placed[path]):
                continue
            if there.kind == "folder":
                _try_to_remove(self._folder.at(path))
            else:
                os.unlink(self._folder.at(path))
        for path in comparison.remove:
            os.unlink(self._folder.at(path))
        for entry in comparison.send:
            there = self._folder.look(entry.path)
            if there is not None and there.kind == "folder" and entry.kind != "folder":
                _remove_empty(self._folder.at(entry.path))
        # Folders that orch has made, and that are empty without what was deleted.
        parents = {folder for path in comparison.delete for folder in above(path)}
        for parent in sorted(parents & record.made, key=len, reverse=True):
            _try_to_remove(self._folder.at(parent))

    def place(self, packed: str) -> Dict[str, Any]:
        """Record, write, and settle the files that were asked for; return what `settle` does."""
        arrived = arrive.unpack(packed)
        self.begin()
        arrive.write(self._folder.path, arrived)
        return self.settle()

    def settle(self) -> Dict[str, Any]:
        """Record what has arrived. Returns {"missing": how many have not, "have": [of the names]}."""
        record, comparison, folder = self._manifest, self._comparison, self._folder
        missing = 0
        entries = {entry.path for entry in self._tree}
        for path in [path for path, each in record.placed.items() if each.owner == self._owner]:
            if path not in entries:
                del record.placed[path]
        for entry, present in comparison.found:
            record.placed[entry.path] = _placed(entry, present, self._owner)
        for entry in comparison.send:
            there = folder.look(entry.path)
            has_arrived = there is not None and is_source(there, entry)
            missing += not has_arrived
            before = record.placed.pop(entry.path, None)
            if there is None:
                continue
            if not has_arrived and before is not None and is_as_placed(there, before):
                record.placed[entry.path] = before  # it has just been removed at its source
            else:  # or has changed there, and is sent again
                record.placed[entry.path] = _placed(entry, there, self._owner)
        record.kept = {entry.path: entry for entry in comparison.kept}
        for path in record.kept:
            if path in record.placed and record.placed[path].owner == self._owner:
                del record.placed[path]
        record.pending = {}
        record.made = {path for path in record.made if os.path.isdir(folder.at(path))}
        record.digest = "" if missing else self._digest  # else the next push would not send them
        record.time = time.time()
        manifest.save(self._state, folder.path, record)
        self.turn.give_up()
        return {"missing": missing, "have": self._have()}

    def leave(self) -> None:
        """Let others work there."""
        self.hold.release()
        self.turn.give_up()

    def _check(self, again: bool) -> Dict[str, Any]:
        """Return what is there of what was placed last."""
        record = self._manifest = manifest.load(self._state)
        absorb(record, self._folder)
        is_same = record.is_of(self._owner, self._digest)
        if is_same and not again and not is_untouched(record, self._owner, self._folder):
            self._comparison = self._compare(record.tree())
        return {
            **self._results(),
            "run": record.run,
            "time": record.time,
            "same": is_same,
            "done": is_same and self._comparison.is_done,
            "have": self._have(),
        }

    def _compare(self, tree: Iterable[Entry]) -> Comparison:
        return compare(tree, self._manifest, self._owner, self._folder, self._overwrite)

    def _results(self) -> Dict[str, Any]:
        found = self._comparison
        kept = [entry.path for entry in found.kept]
        return {
            "send": _ranges(self._tree, found.send),
            "kept": kept[:_MAX_SHOWN],
            "left": found.left[:_MAX_SHOWN],
            "counts": [len(kept), len(found.left)],
            "delete": len(found.delete) + len(found.remove),
            "blocked": [[path, found.blocked[path]] for path in sorted(found.blocked)[:_MAX_SHOWN]],
        }

    def _have(self) -> List[str]:
        """Return those of the names that are files here that orch has not placed so."""
        looked = {name: self._folder.look(name) for name in self._names}
        placed = self._manifest.placed
        return [
            name
            for name, there in looked.items()
            if there is not None
            and there.kind in ("file", "link")
            and not (name in placed and is_as_placed(there, placed[name]))
        ]


def absorb(record: Manifest, folder: Folder) -> None:
    """Count as placed what has arrived of a push that was cut off."""
    for path, entry in record.pending.items():
        there = folder.look(path)
        if there is not None and is_source(there, entry):
            record.placed[path] = _placed(entry, there, record.owner)
    record.pending = {}


def as_placed(workdir: str) -> Callable[[str], bool]:
    """Return a function that returns whether a relative path in the folder is as orch has placed it."""
    folder = Folder(os.path.realpath(workdir))
    record = manifest.load(manifest.state_of(folder.path))
    absorb(record, folder)

    def is_placed(path: str) -> bool:
        placed = record.placed.get(path)
        there = folder.look(path) if placed is not None else None
        return placed is not None and there is not None and is_as_placed(there, placed)

    return is_placed


def _placed(entry: Entry, there: Entry, owner: str) -> Placed:
    return Placed(entry, there.size, there.mtime_ns, owner)


def _ranges(tree: List[Entry], some: List[Entry]) -> List[List[int]]:
    """Return the positions of `some` of the entries of `tree`, both in order, as ranges [first, end]."""
    wanted = {entry.path for entry in some}
    ranges: List[List[int]] = []
    for index, entry in enumerate(tree):
        if entry.path in wanted:
            if ranges and ranges[-1][1] == index:
                ranges[-1][1] = index + 1
            else:
                ranges.append([index, index + 1])
    return ranges


def _missing_folders(paths: Iterable[str], gone: Set[str], folder: Folder) -> Set[str]:
    """Return the folders above `paths` that do not exist, or not without what is `gone`."""
    is_missing: Dict[str, bool] = {}
    for path in paths:
        missing = False
        for parent in above(path):
            if parent not in is_missing:
                is_missing[parent] = missing or parent in gone or folder.look(parent) is None
            missing = is_missing[parent]
    return {path for path, missing in is_missing.items() if missing}


def _try_to_remove(folder: str) -> None:
    """Remove a folder if it contains only what Python has compiled."""
    cache = os.path.join(folder, CACHE)
    try:
        if os.listdir(folder) == [CACHE] and not os.path.islink(cache):
            names = os.listdir(cache)
            if not all(name.endswith(".pyc") for name in names):
                return
            for name in names:
                os.unlink(os.path.join(cache, name))
            os.rmdir(cache)
        os.rmdir(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            raise


def _remove_empty(top: str) -> None:
    """Remove a folder with no files except what Python has compiled. Raises OSError if it has others."""
    for folder, _, _ in os.walk(top, topdown=False):
        if os.path.basename(folder) != CACHE and os.path.isdir(folder):
            _try_to_remove(folder)
    if os.path.isdir(top):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), top)
