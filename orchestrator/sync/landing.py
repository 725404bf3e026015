"""Put fetched files into a folder of this machine; links are not followed, and newer files are kept.

Files arrive in a folder of orch (`.orch-partial`) inside the destination, and are moved to their names once
they are complete. So an interrupted fetch leaves no incomplete file, and the next one resumes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

from orchestrator.errors import SyncError
from orchestrator.sync.remote_files import RemoteFile
from orchestrator.sync.tree import FETCHED, LEFTOVERS
from orchestrator.util.text import printable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK, _ARRIVED, _LINK = "lock", "files", "link"


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not fetched, and why; `is_newer`: because the one here is newer."""

    path: str
    why: str
    is_newer: bool = False


@dataclass(frozen=True)
class Selection:
    """The files to fetch, how many are already here, and those that are not fetched."""

    wanted: tuple[RemoteFile, ...]
    same: int
    skipped: tuple[SkippedFile, ...]


class _Blocked(Exception):
    """A part of a path is not a folder on this machine; the argument names it."""


def select_files(files: Sequence[RemoteFile], folder: Path, *, overwrite: bool) -> Selection:
    """Compare the files of a node with those in `folder`, which need not exist.

    With `overwrite`, files that are newer here are fetched too. Raises SyncError if the folder cannot be
    read.
    """
    wanted: list[RemoteFile] = []
    skipped: list[SkippedFile] = []
    same = 0
    with _sync_errors(folder), ExitStack() as stack:
        root = _open(stack, folder)
        for file in files:
            found = _compare(root, file, overwrite=overwrite)
            if isinstance(found, SkippedFile):
                skipped.append(found)
            elif found:
                same += 1
            else:
                wanted.append(file)
    return Selection(tuple(wanted), same, tuple(skipped))


class Landing:
    """Receives the files for `folder` in the folder `arrived`, inside its context; one fetch at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / LEFTOVERS
        self._stack = ExitStack()
        self.arrived = self._own / _ARRIVED

    def __enter__(self) -> Landing:
        with _sync_errors(self._folder):
            if not self._folder.exists():
                self._folder.mkdir(parents=True)
                (self._folder / FETCHED).touch()
            self._own.mkdir(mode=0o700, exist_ok=True)
            if self._own.is_symlink():
                raise NotADirectoryError(20, "a link, not a folder", str(self._own))
            lock = _lock(self._own / _LOCK)
            if lock is None:
                raise SyncError(
                    f"another fetch into {printable(os.fsencode(self._folder))} is running",
                    remedy="wait for it, or fetch into another folder: --to DIR",
                )
            self._stack.callback(os.close, lock)
            self.arrived.mkdir(mode=0o700, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Keep files for the next fetch; without any, remove the folder of orch."""
        for path, _folders, _names in os.walk(self.arrived, topdown=False):
            _remove_if_empty(Path(path))
        if not self.arrived.exists():
            (self._own / _LINK).unlink(missing_ok=True)
            (self._own / _LOCK).unlink(missing_ok=True)
            _remove_if_empty(self._own)
        self._stack.close()

    def land(
        self, files: Sequence[RemoteFile], *, overwrite: bool, only_as_listed: bool = False
    ) -> tuple[list[RemoteFile], list[SkippedFile]]:
        """Move the complete ones of `files` to their names, and create the links among them.

        `only_as_listed` skips files that arrived with an earlier fetch and have changed since. Returns the
        files that are in place, and those that could not be placed because of an existing file. Raises
        SyncError.
        """
        landed: list[RemoteFile] = []
        skipped: list[SkippedFile] = []
        with _sync_errors(self._folder), ExitStack() as stack:
            root = _open(stack, self._folder)
            assert root is not None
            for file in files:
                source = self.arrived / file.path
                if file.kind == "file" and not _is_whole(source, file if only_as_listed else None):
                    continue
                found = _compare(root, file, overwrite=overwrite)
                if isinstance(found, SkippedFile):  # created during the fetch
                    skipped.append(found)
                    continue
                if file.kind == "link":
                    source = self._make_link(file)
                with _parent(root, file.path, make=True) as (parent, name):
                    os.replace(source, name, dst_dir_fd=parent)
                landed.append(file)
        return landed, skipped

    def forget(self) -> None:
        """Remove what interrupted fetches have left; call this once every file is in place."""
        shutil.rmtree(self.arrived, ignore_errors=True)

    def _make_link(self, file: RemoteFile) -> Path:
        link = self._own / _LINK
        link.unlink(missing_ok=True)
        link.symlink_to(file.target)
        os.utime(link, ns=(file.mtime_ns, file.mtime_ns), follow_symlinks=False)
        return link


def _compare(root: int | None, file: RemoteFile, *, overwrite: bool) -> bool | SkippedFile:
    """Return whether a file is already here, or why it is not fetched."""
    if file.leads_out:
        return SkippedFile(
            file.path, f"a link that leads out of the folder: {printable(os.fsencode(file.target))}"
        )
    try:
        status = None if root is None else _status(root, file.path)
    except _Blocked as blocked:
        return SkippedFile(file.path, f"{blocked} is not a folder here")
    if status is None:
        return False
    if S_ISDIR(status.st_mode):
        return SkippedFile(file.path, "there is a folder here")
    if file.kind == "link" and S_ISLNK(status.st_mode):
        assert root is not None
        with _parent(root, file.path, make=False) as (parent, name):
            if os.readlink(name, dir_fd=parent) == file.target:
                return True
    elif file.kind == "file" and S_ISREG(status.st_mode) and _is_unchanged(status, file):
        return True
    if status.st_mtime_ns > file.mtime_ns and not overwrite:
        return SkippedFile(file.path, "newer here", is_newer=True)
    return False


def _status(root: int, path: str) -> os.stat_result | None:
    """Return the status of `path`, None if it does not exist. Raises _Blocked."""
    try:
        with _parent(root, path, make=False) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


@contextmanager
def _parent(root: int, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """Yield the folder that contains `path`, opened without following links, and the name in it.

    Raises _Blocked.
    """
    *folders, last = path.split("/")
    at = os.dup(root)
    try:
        for number, name in enumerate(folders):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=at)
            try:
                below = os.open(name, _FOLDER, dir_fd=at)
            except OSError as error:
                if isinstance(error, FileNotFoundError | PermissionError):
                    raise
                raise _Blocked(printable(os.fsencode("/".join(folders[: number + 1])))) from None
            os.close(at)
            at = below
        yield at, last
    finally:
        os.close(at)


def _is_whole(path: Path, listed: RemoteFile | None) -> bool:
    """Tell whether a file has arrived as `listed` (None: in any state); clear its special mode bits."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not S_ISREG(status.st_mode):
        return False
    if listed is not None and not _is_unchanged(status, listed):
        return False
    mode = S_IMODE(status.st_mode)
    if mode & 0o7000:
        path.chmod(mode & 0o777)
    return True


def _is_unchanged(status: os.stat_result, file: RemoteFile) -> bool:
    return (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # not empty, or gone
        folder.rmdir()


def _open(stack: ExitStack, folder: Path) -> int | None:
    """Open a folder until the stack is closed; None if it does not exist."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _lock(path: Path) -> int | None:
    """Return the descriptor that holds the lock, None if another process has it."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(path, flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        if os.fstat(lock).st_nlink:
            return lock
        os.close(lock)  # the process that had the lock has removed the file


@contextmanager
def _sync_errors(folder: Path) -> Iterator[None]:
    """Raise SyncError that names the folder for an OSError."""
    try:
        yield
    except OSError as error:
        raise SyncError(
            f"{printable(os.fsencode(folder))} cannot be used for fetched files: {error.strerror}",
            remedy="make room there, or fetch into another folder: --to DIR",
        ) from error
