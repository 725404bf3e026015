"""Choose the files of a folder that are sent to the nodes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG
from typing import Literal

from orchestrator.errors import SyncError
from orchestrator.sync import credentials
from orchestrator.sync.scopes import Scopes, scopes_above, status_of, unreadable
from orchestrator.util.text import printable

MAX_FILES = 200_000
LEFTOVERS = ".orch-partial"  # the folder where rsync keeps files of an interrupted transfer
FETCHED = ".orch-fetched"  # marks a folder of fetched files, which are not sent back to the nodes

_VERSION_CONTROL = frozenset({b".git", b".hg", b".svn"})
ENVIRONMENT_MARKS = frozenset({b"pyvenv.cfg", b"conda-meta"})
"""Names in the top folder of a virtual environment."""
_EXCLUDED_MARKS = ENVIRONMENT_MARKS | {os.fsencode(FETCHED)}


@dataclass(frozen=True)
class Entry:
    """A file, a link, or an empty folder.

    `path` is relative, POSIX, as os.fsdecode returns it. `size` is in bytes (0 except for a file),
    `mtime_ns` 0 for a folder, `mode` the permission bits (0 for a link), `target` that of a link.
    """

    path: str
    kind: Literal["file", "link", "folder"]
    size: int
    mtime_ns: int
    mode: int
    target: str = ""


@dataclass(frozen=True)
class Tree:
    """The entries of the folder `root` that are sent, sorted by path.

    `repeated` are further names (hard links) of files in it, `credentials` the paths that are not sent
    since they are or contain credentials (a folder ends with a slash).
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
        """The bytes of all files; a file with several names counts once."""
        return sum(entry.size for entry in self.entries if entry.path not in self.repeated)

    @property
    def count(self) -> int:
        """The number of files and links."""
        return len(self.files)

    @cached_property
    def listing(self) -> bytes:
        """The names as `rsync --from0 --files-from` reads them."""
        paths = (entry.path for entry in self.entries)
        # To rsync, a name that starts with # or ; is a comment, even with --from0.
        names = (f"./{path}" if path.startswith(("#", ";")) else path for path in paths)
        return b"".join(os.fsencode(name) + b"\0" for name in names)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all entries, in hex; the same for folders with the same content."""
        digest = hashlib.sha256()
        for entry in self.entries:
            numbers = f"{entry.kind} {entry.size} {entry.mtime_ns} {entry.mode:o}".encode()
            names = (os.fsencode(entry.path), os.fsencode(entry.target))
            digest.update(b"\0".join((numbers, *names, b"")))
        return digest.hexdigest()

    def links_out(self) -> Iterator[Entry]:
        """Yield the links that lead out of the folder; a node resolves them to its own files."""
        for entry in self.entries:
            if entry.kind == "link":
                place = os.path.normpath(os.path.join(os.path.dirname(entry.path), entry.target))  # noqa: PTH118, PTH120
                if os.path.isabs(entry.target) or place == ".." or place.startswith("../"):  # noqa: PTH117
                    yield entry


def why_excluded(path: bytes) -> str:
    """Return why the entry at `path` (absolute) is never sent; "" for any other."""
    name = path[path.rfind(b"/") + 1 :]
    if name in _VERSION_CONTROL:
        return "it belongs to version control"
    if name == b"orch" and path.endswith(b"/.local/state/orch"):
        return "it contains orch's own runs"
    return ""


def collect(root: Path) -> Tree:
    """Return the files of the folder `root` that a job may need.

    Excluded are credentials, version control, virtual environments, caches, and what the `.gitignore` files
    (up to the top of the repository that contains `root`) and the `.orchignore` files ignore; `!data/` in
    an `.orchignore` includes excluded entries. Links are sent as links; sockets and pipes are not sent.
    Ignored folders are not entered.

    Raises SyncError if `root` is not a folder, something in it cannot be read, or it has more than
    `MAX_FILES` files.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - keeps links in the path
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises if a parent is not accessible
        raise SyncError(
            f"{_shown(root)} is not a folder",
            remedy="name the folder with --sync, or send nothing with --no-sync",
        )
    return _Walk(root).tree()


class _Walk:
    """A walk through a folder. Paths in it are bytes, and those of folders end with a slash."""

    def __init__(self, root: Path) -> None:
        self._root = root
        top, self._above = scopes_above(root)
        self._base = os.fsencode(root) + b"/"
        self._prefix = os.fsencode(root.relative_to(top)) + b"/" if root != top else b""
        self._entries: list[Entry] = []
        self._folders: set[bytes] = set()
        self._filled: set[bytes] = {b""}  # folders with entries
        self._inodes: set[tuple[int, int]] = set()
        self._repeated: set[str] = set()
        self._credentials: list[str] = []

    def tree(self) -> Tree:
        folders = [(b"", self._above, False)]
        while folders:
            here, scopes, trusted = folders.pop()
            folders += self._enter(here, scopes, trusted)
            if len(self._entries) > MAX_FILES:
                raise _too_many(self._root, [entry.path for entry in self._entries])
        for folder in self._folders - self._filled:
            entry = entry_at(self._base, folder.removesuffix(b"/"))
            if entry is not None:
                self._entries.append(entry)
        return Tree(
            self._root,
            tuple(sorted(self._entries, key=lambda entry: entry.path)),
            frozenset(self._repeated),
            tuple(sorted(self._credentials)),
        )

    def _enter(
        self, here: bytes, scopes: Scopes, trusted: bool
    ) -> Iterator[tuple[bytes, Scopes, bool]]:
        """Add the files of a folder, and yield its folders; `trusted`: do not look for credentials."""
        entries = _entries(self._base + here)
        if here and not _EXCLUDED_MARKS.isdisjoint(entry.name for entry in entries):
            return
        self._folders.add(here)
        self._filled.add(here[: here.rfind(b"/", 0, -1) + 1])
        scopes = scopes.within(self._base + here, self._prefix + here)
        for entry in entries:
            path = here + entry.name
            directory = entry.is_dir(follow_symlinks=False)
            decision = scopes.decide(self._prefix + path, directory=directory)
            if (decision is not None and decision.rule.ignores) or why_excluded(self._base + path):
                continue
            named = not trusted and credentials.is_named_like_one(
                self._base + path, directory=directory
            )
            if named and not scopes.includes(self._prefix + path, directory=directory):
                self._credentials.append(os.fsdecode(path) + ("/" if directory else ""))
            elif directory:
                yield path + b"/", scopes, trusted or named
            else:
                self._add(here, path, scopes, trusted or named)

    def _add(self, here: bytes, path: bytes, scopes: Scopes, trusted: bool) -> None:
        """Add the file or link at `path`."""
        status = status_of(self._base + path)
        entry = None if status is None else _entry(self._base, path, status)
        if entry is None or status is None:
            return
        if entry.kind == "file":
            if (
                not trusted
                and credentials.holds_one(self._base + path, entry.size)
                and not scopes.includes(self._prefix + path, directory=False)
            ):
                self._credentials.append(entry.path)
                return
            if status.st_nlink > 1:
                inode = (status.st_dev, status.st_ino)
                if inode in self._inodes:
                    self._repeated.add(entry.path)
                self._inodes.add(inode)
        self._entries.append(entry)
        self._filled.add(here)


def entry_at(base: bytes, path: bytes) -> Entry | None:
    """Return the file, link or folder at `path` below `base`; None if it is missing or of another type."""
    status = status_of(base + path)
    return None if status is None else _entry(base, path, status)


def _entry(base: bytes, path: bytes, status: os.stat_result) -> Entry | None:
    name, mode = os.fsdecode(path), S_IMODE(status.st_mode)
    if S_ISREG(status.st_mode):
        return Entry(name, "file", status.st_size, status.st_mtime_ns, mode)
    if S_ISDIR(status.st_mode):
        return Entry(name, "folder", 0, 0, mode)
    with suppress(OSError):  # it was removed or is no longer a link
        if S_ISLNK(status.st_mode):
            target = os.fsdecode(os.readlink(base + path))  # noqa: PTH115 - bytes
            return Entry(name, "link", 0, status.st_mtime_ns, 0, target)
    return None


def _entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:  # gone since its parent was listed
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def _too_many(root: Path, files: list[str]) -> SyncError:
    folders = Counter(name.partition("/")[0] for name in files if "/" in name)
    most = ", ".join(f"{_shown(name)}/ ({count:,})" for name, count in folders.most_common(3))
    return SyncError(
        f"{_shown(root)} has more than {MAX_FILES:,} files"
        + (f", most of them in {most}" if most else ""),
        remedy="list what the job does not need in .orchignore (syntax of .gitignore), "
        "or name another folder with --sync",
    )


def _shown(path: Path | str | bytes) -> str:
    return printable(os.fsencode(path))
