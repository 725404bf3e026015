"""The ignore files that apply in a folder, and the line that decides about an entry."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from orchestrator.errors import SyncError
from orchestrator.sync.ignore import Rule, Rules
from orchestrator.util.text import printable

GIT, ORCH = ".gitignore", ".orchignore"

# Files that jobs do not usually need; ignore files override this.
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


@dataclass(frozen=True)
class Decision:
    """A rule that matches an entry, and its ignore file (None: a rule of orch)."""

    rule: Rule
    file: Path | None


@dataclass(frozen=True)
class _Scope:
    """One ignore file, and the length of its folder's path below the top, with the slash."""

    rules: Rules
    depth: int
    file: bytes


@dataclass(frozen=True)
class Scopes:
    """The ignore files that apply in a folder, the outermost first."""

    git: tuple[_Scope, ...] = ()
    orch: tuple[_Scope, ...] = ()

    def within(self, folder: bytes, path: bytes) -> Scopes:
        """Return the ignore files that apply inside `folder` (absolute; `path` is relative to the top)."""

        def extended(scopes: tuple[_Scope, ...], name: str) -> tuple[_Scope, ...]:
            file = folder + name.encode()
            rules = _rules(file)
            return (*scopes, _Scope(rules, len(path), file)) if rules else scopes

        return Scopes(extended(self.git, GIT), extended(self.orch, ORCH))

    def decide(self, path: bytes, *, directory: bool) -> Decision | None:
        """Return the rule that decides about `path`: of an .orchignore, a .gitignore, or orch."""
        found = _last(self.orch, path, directory) or _last(self.git, path, directory)
        if found is not None:
            return found
        rule = _DEFAULTS.find(path, directory=directory)
        return None if rule is None else Decision(rule, None)

    def includes(self, path: bytes, *, directory: bool) -> bool:
        """Tell whether an .orchignore explicitly includes the entry at `path`, not just by `!*`."""
        found = _last(self.orch, path, directory)
        return found is not None and not found.rule.ignores and not found.rule.is_catch_all


def scopes_above(root: Path) -> tuple[Path, Scopes]:
    """Return the top of the repository that contains `root`, and the ignore files between the two.

    Outside a repository, and if these files ignore `root` itself, `root` is the top.
    """
    top = next((path for path in (root, *root.parents) if (path / ".git").exists()), root)
    scopes = Scopes()
    path = b""
    for part in root.relative_to(top).parts:
        scopes = scopes.within(os.fsencode(top) + b"/" + path, path)
        path += os.fsencode(part)
        decision = scopes.decide(path, directory=True)
        if decision is not None and decision.rule.ignores:
            return root, Scopes()
        path += b"/"
    return top, scopes


def status_of(path: bytes) -> os.stat_result | None:
    """Return the status of `path`, None if it does not exist. Raises SyncError."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: bytes, error: OSError) -> SyncError:
    """Return the error for a path that cannot be read."""
    return SyncError(
        f"{printable(path)} cannot be read: {error.strerror}",
        remedy="change its permissions, or name it in .orchignore",
    )


def _last(scopes: tuple[_Scope, ...], path: bytes, directory: bool) -> Decision | None:
    for scope in reversed(scopes):
        rule = scope.rules.find(path[scope.depth :], directory=directory)
        if rule is not None:
            return Decision(rule, Path(os.fsdecode(scope.file)))
    return None


def _rules(path: bytes) -> Rules | None:
    """Return the rules of the ignore file at `path`; None if there is none. A link is ignored, as in
    git.
    """
    status = status_of(path)
    if status is None or not S_ISREG(status.st_mode):
        return None
    try:
        return Rules(Path(os.fsdecode(path)).read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
