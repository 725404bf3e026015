"""Place the files of a project in its working folder on this node, in steps that may be cut off anywhere.

    enter    find the folder, take a turn at it, and see whether all is there as it was placed last
    compare  take the listing of the source, and say what is to be sent
    begin    put on record what is about to come, and delete what is gone at the source
    settle   put on record what has come

Between `begin` and `settle` rsync brings the files, each in one step under its name. What it has brought by
the time that all of it is killed is known by the record of `begin`.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

from . import files, manifest, project
from .compare import Comparison, Disk, above, compare, is_as_placed, is_source, is_untouched
from .holds import Hold, Turn, runs_in
from .manifest import Entry, Manifest, Placed

_SHOWN = 20  # paths of a kind in an answer, beside how many there are
_CACHE = "__pycache__"


class Folder(Disk):
    """The files of a working folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def look(self, path: str) -> Optional[Entry]:
        return manifest.look(self.path, path)

    def leads_to_folder(self, path: str) -> bool:
        return os.path.isdir(self.at(path))

    def rest(self, path: str, deleted: Set[str]) -> Optional[str]:
        for folder, folders, names in os.walk(self.at(path)):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in names + links:
                there = os.path.relpath(os.path.join(folder, name), self.path)
                if there not in deleted and not _is_cache(there):
                    return there
        return None

    def at(self, path: str) -> str:
        """Return the absolute path."""
        return os.path.join(self.path, path)


class Placing:
    """One run's work on one folder; its hold lasts until it leaves, and longer by its supervisor."""

    def __init__(self, run: str, node: str) -> None:
        files.run_directory(run, node)  # raises ValueError for what is no name
        self._run, self._node = run, node
        self._hold: Optional[Hold] = None
        self._turn: Optional[Turn] = None
        self._folder = Folder("")
        self._state = self._owner = self._digest = ""
        self._overwrite = False
        self._names: List[str] = []
        self._manifest = Manifest()
        self._tree: List[Entry] = []
        self._comparison = Comparison()

    @property
    def descriptors(self) -> List[int]:
        """The locks that are to last as long as the run does."""
        return [] if self._hold is None else [self._hold.descriptor]

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
        """Take part in the work in a folder: `workdir`, or where the project is to have its `own`, its.

        `digest` is of what is to be there (None: nothing is brought). With `again` it is enough that
        nothing else was placed since; else all of it is looked at. `names` are files of which it is told
        whether they are there other than placed.

        Returns {"busy": the run whose turn it is}, and then nothing was done, or else {"workdir", "new",
        "passed": [[path, source]], "others": [runs that work there], "run": that placed last, "time": when,
        "same": whether this is what was placed last, "done": whether nothing is to be done}, what a
        comparison tells, and "have": [of the names]. Unless it is done, the turn lasts to `settle`.
        """
        brings = digest is not None
        found = (
            project.find(workdir, owner, source, create=brings)
            if own
            else project.Folder(os.path.abspath(os.path.expanduser(workdir)), False, [])
        )
        if brings:
            os.makedirs(found.path, exist_ok=True)
        self._folder = Folder(os.path.realpath(found.path))
        self._state = manifest.state_of(self._folder.path)
        self._owner, self._digest, self._names = owner, digest or "", names
        self._overwrite = overwrite
        turn = Turn(self._state)
        busy = turn.take(self._run)
        if busy is None:
            self._turn = turn
        elif busy != self._run:  # else another node has it that shares orch's own folder with us
            return {"busy": busy}
        try:
            answer = {
                "workdir": found.path,
                "new": found.is_new,
                "passed": found.passed,
                "others": runs_in(self._state, self._run),
            }
            self._hold = Hold(self._state, self._run, self._node)
            answer.update(self._see(again))
            if answer["done"] or not brings:
                self.give_up_turn()
        except BaseException:
            self.leave()
            raise
        return answer

    def compare(self, tree: str) -> Dict[str, Any]:
        """Compare the packed entries of the source with what is here; returns what a comparison tells.

        {"send": [[first, end], ...] of the positions in the tree, "kept", "left": [paths], "counts": how
        many of these two, "delete": how many, "blocked": [[path, what is in the way]]}.
        """
        self._tree = manifest.unpack(tree)
        self._comparison = self._compare(self._tree)
        return self._tell()

    def begin(self) -> None:
        """Record what is to come, and delete what is gone at its source."""
        record, comparison = self._manifest, self._comparison
        record.owner, record.digest, record.run = self._owner, "", self._run
        record.pending = {entry.path: entry for entry in comparison.send}
        gone = set(comparison.delete) | set(comparison.remove)
        record.made |= _missing_folders(record.pending, gone, self._folder)
        manifest.save(self._state, self._folder.path, record)
        for path in comparison.delete:
            there = self._folder.look(path)
            if there is not None and is_as_placed(there, record.placed[path]):
                self._delete(path, there)
        for path in comparison.remove:
            os.unlink(self._folder.at(path))
        for entry in comparison.send:
            there = self._folder.look(entry.path)
            if there is not None and there.kind == "folder" and entry.kind != "folder":
                _remove_empty(self._folder.at(entry.path))
        self._remove_made(comparison.delete)

    def settle(self) -> Dict[str, Any]:
        """Record what has come. Returns {"missing": how many have not, "have": [of the names]}."""
        record, comparison, folder = self._manifest, self._comparison, self._folder
        came = [(entry, folder.look(entry.path)) for entry in comparison.send]
        missing = 0
        entries = {entry.path for entry in self._tree}
        for path in [path for path, each in record.placed.items() if each.owner == self._owner]:
            if path not in entries:
                del record.placed[path]
        for entry, stands in comparison.found:
            record.placed[entry.path] = _placed(entry, stands, self._owner)
        for entry, there in came:
            has_come = there is not None and is_source(there, entry)
            missing += not has_come
            before = record.placed.pop(entry.path, None)
            if there is None:
                continue
            if not has_come and before is not None and is_as_placed(there, before):
                record.placed[entry.path] = before  # it went at its source meanwhile
            else:  # or has changed there, and is sent again
                record.placed[entry.path] = _placed(entry, there, self._owner)
        record.kept = {entry.path: entry for entry in comparison.kept}
        for path in record.kept:
            if path in record.placed and record.placed[path].owner == self._owner:
                del record.placed[path]
        record.pending = {}
        record.made = {path for path in record.made if os.path.isdir(folder.at(path))}
        record.digest = "" if missing else self._digest  # else the next push would not bring them
        record.time = time.time()
        manifest.save(self._state, folder.path, record)
        self.give_up_turn()
        return {"missing": missing, "have": self._have()}

    def give_up_turn(self) -> None:
        """Let other runs place files there, if those do not concern ours."""
        if self._turn is not None:
            self._turn.give_up()
            self._turn = None

    def leave(self) -> None:
        """Let others work there."""
        if self._hold is not None:
            self._hold.release()
            self._hold = None
        self.give_up_turn()

    def _see(self, again: bool) -> Dict[str, Any]:
        """Return what is there of what was placed last."""
        record = self._manifest = manifest.load(self._state)
        absorb(record, self._folder)
        is_same = record.is_of(self._owner, self._digest)
        if is_same and not again and not is_untouched(record, self._owner, self._folder):
            self._comparison = self._compare(record.tree())
        told = {
            "run": record.run,
            "time": record.time,
            "same": is_same,
            "done": is_same and self._comparison.is_done,
            "have": self._have(),
        }
        return dict(self._tell(), **told)

    def _compare(self, tree: Iterable[Entry]) -> Comparison:
        return compare(tree, self._manifest, self._owner, self._folder, self._overwrite)

    def _tell(self) -> Dict[str, Any]:
        found = self._comparison
        kept = [entry.path for entry in found.kept]
        return {
            "send": _ranges(self._tree, found.send),
            "kept": kept[:_SHOWN],
            "left": found.left[:_SHOWN],
            "counts": [len(kept), len(found.left)],
            "delete": len(found.delete) + len(found.remove),
            "blocked": [[path, found.blocked[path]] for path in sorted(found.blocked)[:_SHOWN]],
        }

    def _have(self) -> List[str]:
        """Return those of the names that are files here, and not as orch placed them."""
        return [name for name in self._names if self._is_other(name)]

    def _is_other(self, name: str) -> bool:
        there, placed = self._folder.look(name), self._manifest.placed.get(name)
        if there is None or there.kind not in ("file", "link"):
            return False
        return placed is None or not is_as_placed(there, placed)

    def _delete(self, path: str, there: Entry) -> None:
        if there.kind != "folder":
            os.unlink(self._folder.at(path))
        else:
            _try_to_remove(self._folder.at(path))

    def _remove_made(self, deleted: Iterable[str]) -> None:
        """Remove the folders that orch has made, and that are empty without what was deleted."""
        parents = {folder for path in deleted for folder in above(path)}
        for folder in sorted(parents & self._manifest.made, key=len, reverse=True):
            _try_to_remove(self._folder.at(folder))


def absorb(record: Manifest, folder: Disk) -> None:
    """Count as placed what has come of a push that was cut off."""
    for path, entry in record.pending.items():
        there = folder.look(path)
        if there is not None and is_source(there, entry):
            record.placed[path] = _placed(entry, there, record.owner)
    record.pending = {}


def as_placed(workdir: str) -> Callable[[str], bool]:
    """Return what tells of a relative path in the folder whether it is as orch has placed it."""
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
    """Return the positions of `some` of the entries of `tree`, both in order: [first, end] of each row."""
    wanted = {entry.path for entry in some}
    rows: List[List[int]] = []
    for index, entry in enumerate(tree):
        if entry.path in wanted:
            if rows and rows[-1][1] == index:
                rows[-1][1] = index + 1
            else:
                rows.append([index, index + 1])
    return rows


def _missing_folders(paths: Iterable[str], gone: Set[str], folder: Folder) -> Set[str]:
    """Return the folders above `paths` that are not there, or not once what is `gone` is."""
    is_missing: Dict[str, bool] = {}
    for path in paths:
        missing = False
        for above_it in above(path):
            if above_it not in is_missing:
                is_missing[above_it] = missing or above_it in gone or folder.look(above_it) is None
            missing = is_missing[above_it]
    return {path for path, missing in is_missing.items() if missing}


def _is_cache(path: str) -> bool:
    """Tell whether it is what Python has compiled of a module beside it."""
    return path.endswith(".pyc") and os.path.basename(os.path.dirname(path)) == _CACHE


def _try_to_remove(folder: str) -> None:
    """Remove a folder if nothing is in it but what Python has compiled."""
    cache = os.path.join(folder, _CACHE)
    try:
        if os.listdir(folder) == [_CACHE] and not os.path.islink(cache):
            for name in os.listdir(cache):
                if not name.endswith(".pyc"):
                    return
            for name in os.listdir(cache):
                os.unlink(os.path.join(cache, name))
            os.rmdir(cache)
        os.rmdir(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            raise


def _remove_empty(top: str) -> None:
    """Remove a folder with no files in it but what Python has compiled. Raises OSError where there are."""
    for folder, _, _ in os.walk(top, topdown=False):
        if os.path.basename(folder) != _CACHE and os.path.isdir(folder):
            _try_to_remove(folder)
    if os.path.isdir(top):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), top)
