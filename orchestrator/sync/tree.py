"""Choose what of a folder goes to the nodes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG
from typing import Literal

from orchestrator.errors import SyncError
from orchestrator.sync import credentials
from orchestrator.sync.scopes import Scopes, scopes_above, status_of, unreadable
from orchestrator.util.text import printable

MOST_FILES = 200_000
LEFTOVERS = ".orch-partial"  # where rsync keeps what an interrupted push brought over
FETCHED = ".orch-fetched"  # in a folder that was made for results: they do not go back to the nodes

_VERSION_CONTROL = frozenset({b".git", b".hg", b".svn"})
ENVIRONMENT_MARKS = frozenset({b"pyvenv.cfg", b"conda-meta"})
"""What a virtual environment has in its top folder."""
_STAYING_MARKS = ENVIRONMENT_MARKS | {os.fsencode(FETCHED)}


@dataclass(frozen=True)
class Entry:
    """One thing that goes.

    `path` is relative, POSIX, as os.fsdecode gives it. A "folder" is one that has nothing else that goes.
    `size` is in bytes (of a file, else 0), `mtime_ns` 0 for a folder, `mode` the permission bits (0 for a
    link), `target` what a link holds.
    """

    path: str
    kind: Literal["file", "link", "folder"]
    size: int
    mtime_ns: int
    mode: int
    target: str = ""


@dataclass(frozen=True)
class Tree:
    """What goes of the folder `root`, sorted by path.

    `repeated` are further names (hard links) of files that go already, `credentials` the paths that stay
    here because they are, or hold, credentials (a folder ends with a slash).
    """

    root: Path
    entries: tuple[Entry, ...]
    repeated: frozenset[str] = frozenset()
    credentials: tuple[str, ...] = ()

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The paths of files and links."""
        return tuple(entry.path for entry in self.entries if entry.kind != "folder")

    @cached_property
    def size(self) -> int:
        """The bytes of all files, each counted once whatever names it has."""
        return sum(entry.size for entry in self.entries if entry.path not in self.repeated)

    @property
    def count(self) -> int:
        """The number of files and links."""
        return len(self.files)

    @cached_property
    def listing(self) -> bytes:
        """The names as `rsync --from0 --files-from` reads them."""
        paths = (entry.path for entry in self.entries)
        # rsync takes a line that starts with # or ; for a comment, even with --from0.
        names = (f"./{path}" if path.startswith(("#", ";")) else path for path in paths)
        return b"".join(os.fsencode(name) + b"\0" for name in names)

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hex, of all entries; equal for equal contents of two folders."""
        digest = hashlib.sha256()
        for entry in self.entries:
            numbers = f"{entry.kind} {entry.size} {entry.mtime_ns} {entry.mode:o}".encode()
            names = (os.fsencode(entry.path), os.fsencode(entry.target))
            digest.update(b"\0".join((numbers, *names, b"")))
        return digest.hexdigest()

    def links_out(self) -> Iterator[Entry]:
        """Yield the links that lead out of the folder, and so to something of the node's own there."""
        for entry in self.entries:
            if entry.kind == "link":
                place = os.path.normpath(os.path.join(os.path.dirname(entry.path), entry.target))  # noqa: PTH118, PTH120
                if os.path.isabs(entry.target) or place == ".." or place.startswith("../"):  # noqa: PTH117
                    yield entry


def never_goes(path: bytes) -> str:
    """Return what the entry at `path` (absolute) is, if it stays here in any case; else ""."""
    name = path[path.rfind(b"/") + 1 :]
    if name in _VERSION_CONTROL:
        return "it is of version control"
    if name == b"orch" and path.endswith(b"/.local/state/orch"):
        return "it is orch's own, of its runs"
    return ""


def collect(root: Path) -> Tree:
    """Return what of the folder `root` a job may need.

    Left out are credentials, version control, virtual environments, caches, and what `.gitignore` files
    (up to the top of the repository that `root` is in) and then `.orchignore` files name; `!data/` in an
    `.orchignore` takes back what is left out otherwise. Links are taken as links; sockets and pipes are
    not taken. An ignored folder is not entered.

    Raises SyncError when `root` is not a folder, something in it cannot be read, or it has more
    than 200,000 files.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - links in the path stay as the user wrote them
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises where a parent is closed
        raise SyncError(
            f"{_shown(root)} is not a folder",
            remedy="name the folder with --sync, or take nothing with --no-sync",
        )
    return _Walk(root).tree()


class _Walk:
    """One walk through a folder; paths within it are bytes, and those of folders end with a slash."""

    def __init__(self, root: Path) -> None:
        self._root = root
        top, self._above = scopes_above(root)
        self._base = os.fsencode(root) + b"/"
        self._prefix = os.fsencode(root.relative_to(top)) + b"/" if root != top else b""
        self._entries: list[Entry] = []
        self._folders: set[bytes] = set()
        self._filled: set[bytes] = {b""}  # folders that need no entry of their own
        self._inodes: set[tuple[int, int]] = set()
        self._repeated: set[str] = set()
        self._credentials: list[str] = []

    def tree(self) -> Tree:
        folders = [(b"", self._above, False)]
        while folders:
            here, scopes, trusted = folders.pop()
            folders += self._enter(here, scopes, trusted)
            if len(self._entries) > MOST_FILES:
                raise _too_many(self._root, [entry.path for entry in self._entries])
        for folder in self._folders - self._filled:
            status = status_of(self._base + folder)
            if status is not None:
                path = os.fsdecode(folder.removesuffix(b"/"))
                self._entries.append(Entry(path, "folder", 0, 0, S_IMODE(status.st_mode)))
        return Tree(
            self._root,
            tuple(sorted(self._entries, key=lambda entry: entry.path)),
            frozenset(self._repeated),
            tuple(sorted(self._credentials)),
        )

    def _enter(
        self, here: bytes, scopes: Scopes, trusted: bool
    ) -> Iterator[tuple[bytes, Scopes, bool]]:
        """Take the files of a folder, and yield the folders in it; `trusted`: no credentials are sought."""
        entries = _entries(self._base + here)
        if here and not _STAYING_MARKS.isdisjoint(entry.name for entry in entries):
            return
        self._folders.add(here)
        self._filled.add(here[: here.rfind(b"/", 0, -1) + 1])
        scopes = scopes.within(self._base + here, self._prefix + here)
        for entry in entries:
            path = here + entry.name
            directory = entry.is_dir(follow_symlinks=False)
            decision = scopes.decide(self._prefix + path, directory=directory)
            if (decision is not None and decision.rule.ignores) or never_goes(self._base + path):
                continue
            named = not trusted and credentials.is_named_like_one(
                self._base + path, directory=directory
            )
            if named and not scopes.takes_back(self._prefix + path, directory=directory):
                self._credentials.append(os.fsdecode(path) + ("/" if directory else ""))
            elif directory:
                yield path + b"/", scopes, trusted or named
            else:
                self._take(here, path, scopes, trusted or named)

    def _take(self, here: bytes, path: bytes, scopes: Scopes, trusted: bool) -> None:
        """Take the file or link at `path`."""
        status = status_of(self._base + path)
        if status is None:
            return
        name = os.fsdecode(path)
        if S_ISREG(status.st_mode):
            if (
                not trusted
                and credentials.holds_one(self._base + path, status.st_size)
                and not scopes.takes_back(self._prefix + path, directory=False)
            ):
                self._credentials.append(name)
                return
            if status.st_nlink > 1:
                inode = (status.st_dev, status.st_ino)
                if inode in self._inodes:
                    self._repeated.add(name)
                self._inodes.add(inode)
            mode = S_IMODE(status.st_mode)
            self._entries.append(Entry(name, "file", status.st_size, status.st_mtime_ns, mode))
        elif S_ISLNK(status.st_mode):
            target = _target(self._base + path)
            if target is None:
                return
            self._entries.append(Entry(name, "link", 0, status.st_mtime_ns, 0, target))
        else:
            return
        self._filled.add(here)


def entry_at(base: bytes, path: bytes) -> Entry | None:
    """Return the file, link or folder at `path` below `base`; None for anything else, or what is gone."""
    status = status_of(base + path)
    if status is None:
        return None
    name = os.fsdecode(path)
    if S_ISREG(status.st_mode):
        mode = S_IMODE(status.st_mode)
        return Entry(name, "file", status.st_size, status.st_mtime_ns, mode)
    if S_ISLNK(status.st_mode):
        target = _target(base + path)
        return None if target is None else Entry(name, "link", 0, status.st_mtime_ns, 0, target)
    if S_ISDIR(status.st_mode):
        return Entry(name, "folder", 0, 0, S_IMODE(status.st_mode))
    return None


def _entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:  # gone since its parent was listed
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def _target(path: bytes) -> str | None:
    """Return what the link at `path` holds; None if it is gone, or no link any more."""
    try:
        return os.fsdecode(os.readlink(path))  # noqa: PTH115 - bytes
    except OSError:
        return None


def _too_many(root: Path, files: list[str]) -> SyncError:
    folders = Counter(name.partition("/")[0] for name in files if "/" in name)
    most = ", ".join(f"{_shown(name)}/ ({count:,})" for name, count in folders.most_common(3))
    return SyncError(
        f"{_shown(root)} has more than {MOST_FILES:,} files"
        + (f", most of them in {most}" if most else ""),
        remedy="name what the job does not need in .orchignore (syntax of .gitignore), "
        "or another folder with --sync",
    )


def _shown(path: Path | str | bytes) -> str:
    return printable(os.fsencode(path))
