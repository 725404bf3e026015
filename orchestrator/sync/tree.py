"""Choose the files that a job needs from the folder of its script."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISLNK, S_ISREG

from orchestrator.errors import SyncError
from orchestrator.remote.text import printable
from orchestrator.sync.ignore import Rules

MOST_FILES = 200_000
LEFTOVERS = ".orch-partial"  # where rsync keeps what an interrupted push brought over

# What no job needs; ignore files have the last word.
_DEFAULTS = Rules(
    b"""
__pycache__/
*.py[cod]
.mypy_cache/
.ruff_cache/
.pytest_cache/
.hypothesis/
.tox/
.nox/
.ipynb_checkpoints/
.DS_Store
node_modules/
.orch-*
"""
)
_NEVER = frozenset({b".git", b".hg", b".svn"})
_ENVIRONMENT_MARKS = frozenset({b"pyvenv.cfg", b"conda-meta"})


@dataclass(frozen=True)
class Tree:
    """The files of a folder: relative POSIX paths (as os.fsdecode gives them), sorted; bytes."""

    root: Path
    files: tuple[str, ...]
    size: int

    @cached_property
    def listing(self) -> bytes:
        """The names as `rsync --from0 --files-from` reads them."""
        # rsync takes a line that starts with # or ; for a comment, even with --from0.
        names = (f"./{name}" if name.startswith(("#", ";")) else name for name in self.files)
        return b"".join(os.fsencode(name) + b"\0" for name in names)


@dataclass(frozen=True)
class _Scope:
    """One ignore file, and the length of its folder's path (with its slash) below the top."""

    rules: Rules
    depth: int


@dataclass(frozen=True)
class _Scopes:
    """The ignore files that hold in a folder, the outermost first."""

    git: tuple[_Scope, ...] = ()
    orch: tuple[_Scope, ...] = ()

    def within(self, folder: bytes, path: bytes) -> _Scopes:
        """Return what holds inside `folder` (absolute; `path` is the same below the top)."""
        git, orch = _rules(folder + b".gitignore"), _rules(folder + b".orchignore")
        return _Scopes(
            (*self.git, _Scope(git, len(path))) if git else self.git,
            (*self.orch, _Scope(orch, len(path))) if orch else self.orch,
        )

    def ignored(self, path: bytes, *, directory: bool) -> bool:
        """Whether the entry at `path` is left out: .orchignore decides, then .gitignore."""
        for scopes in (self.orch, self.git):
            for scope in reversed(scopes):
                verdict = scope.rules.ignored(path[scope.depth :], directory=directory)
                if verdict is not None:
                    return verdict
        return bool(_DEFAULTS.ignored(path, directory=directory))


def collect(root: Path) -> Tree:
    """Return the files below `root` that a job may need.

    Left out are version control, virtual environments, caches, and what `.gitignore` files (up to
    the top of the repository that `root` is in) and then `.orchignore` files name; `!data/` in an
    `.orchignore` takes back what a `.gitignore` ignores. Links are taken as links; sockets, pipes
    and empty folders are not taken. An ignored folder is not entered.

    Raises SyncError when `root` is not a folder, something in it cannot be read, or it has more
    than 200,000 files.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - links in the path stay as the user wrote them
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises where a parent is closed
        raise SyncError(
            f"{_shown(root)} is not a folder",
            remedy="name the folder with --sync, or take nothing with --no-sync",
        )
    top, above = _above(root)
    base = os.fsencode(root) + b"/"
    prefix = os.fsencode(root.relative_to(top)) + b"/" if root != top else b""
    files: list[str] = []
    size = 0
    folders = [(b"", above)]
    while folders:
        here, scopes = folders.pop()
        entries = _entries(base + here)
        if here and not _ENVIRONMENT_MARKS.isdisjoint(entry.name for entry in entries):
            continue
        scopes = scopes.within(base + here, prefix + here)
        for entry in entries:
            path = here + entry.name
            directory = entry.is_dir(follow_symlinks=False)
            if entry.name in _NEVER or scopes.ignored(prefix + path, directory=directory):
                continue
            if directory:
                folders.append((path + b"/", scopes))
                continue
            status = _status(base + path)
            if status and (S_ISREG(status.st_mode) or S_ISLNK(status.st_mode)):
                files.append(os.fsdecode(path))
                size += status.st_size
        if len(files) > MOST_FILES:
            raise _too_many(root, files)
    return Tree(root, tuple(sorted(files)), size)


def _entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:  # gone since its parent was listed
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _status(path: bytes) -> os.stat_result | None:
    """Return what is at `path`, None if nothing is (any more)."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _rules(path: bytes) -> Rules | None:
    """Return the rules of the ignore file at `path`; a link is none, as in git."""
    status = _status(path)
    if status is None or not S_ISREG(status.st_mode):
        return None
    try:
        return Rules(Path(os.fsdecode(path)).read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: bytes, error: OSError) -> SyncError:
    return SyncError(
        f"{_shown(path)} cannot be read: {error.strerror}",
        remedy="change its permissions, or name it in .orchignore",
    )


def _above(root: Path) -> tuple[Path, _Scopes]:
    """Return the top of the repository that `root` is in, and the ignore files between the two.

    Outside a repository, and where these files ignore `root` itself, though it was asked for by
    name, `root` is its own top.
    """
    top = next((path for path in (root, *root.parents) if (path / ".git").exists()), root)
    scopes = _Scopes()
    path = b""
    for part in root.relative_to(top).parts:
        scopes = scopes.within(os.fsencode(top) + b"/" + path, path)
        path += os.fsencode(part)
        if scopes.ignored(path, directory=True):
            return root, _Scopes()
        path += b"/"
    return top, scopes


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
