"""Why a file of this machine is not sent to the nodes, and the lines that include it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.sync import credentials
from orchestrator.sync.ignore import pattern_for
from orchestrator.sync.scopes import ORCH, Decision, scopes_above, status_of
from orchestrator.sync.tree import ENVIRONMENT_MARKS, why_excluded
from orchestrator.util.text import printable


@dataclass(frozen=True)
class LeftOut:
    """Why an entry is not sent.

    `what` is the excluded entry: the requested one, or a folder above it (relative; a folder ends with a
    slash). `file`, `line` (from 1) and `pattern` are those of the rule; `file` is None for a rule of
    orch, and then `pattern` describes it. `fixes` are the lines that include it in the .orchignore
    `fix_file` (None: nothing includes it).
    """

    what: str
    file: Path | None
    line: int
    pattern: str
    fixes: tuple[str, ...] = ()
    fix_file: Path | None = None

    def reason(self, root: Path) -> str:
        """Return `left out by .gitignore:3`, with the file relative to `root`."""
        if self.file is None:
            return f"left out: {self.pattern}"
        return f"left out by {_relative(self.file, root)}:{self.line} ({printable(self.pattern)})"

    def remedy(self, root: Path) -> str:
        """Return how to send it to the nodes."""
        if self.fix_file is None:
            return "copy it to the nodes yourself"
        lines = " and ".join(printable(line) for line in self.fixes)
        return f"add to {_relative(self.fix_file, root)}: {lines}"


def why_left_out(root: Path, path: str) -> LeftOut | None:
    """Return why the entry at `path` (relative to `root`, without `..`) is not sent; None if it is.

    Raises SyncError if an ignore file cannot be read.
    """
    top, scopes = scopes_above(root)
    base = os.fsencode(root) + b"/"
    prefix = os.fsencode(root.relative_to(top)) + b"/" if root != top else b""
    here, trusted = b"", False
    first: LeftOut | None = None
    fixes: list[str] = []
    fix_file = root / ORCH
    parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
    for index, name in enumerate(parts):
        entry = here + name
        directory = index < len(parts) - 1 or _is_directory(base + entry)
        what = os.fsdecode(entry) + ("/" if directory else "")
        kind = why_excluded(base + entry) or _environment(base + entry, directory)
        if kind:
            return LeftOut(what, None, 0, kind)
        scopes = scopes.within(base + here, prefix + here)
        decision = scopes.decide(prefix + entry, directory=directory)
        reason = _reason(what, decision)
        if reason is None:
            found = not trusted and _is_credential(base + entry, directory)
            included = scopes.includes(prefix + entry, directory=directory)
            trusted = trusted or (found and included)
            if found and not included:
                reason = LeftOut(what, None, 0, "credentials are sent only if they are named")
        elif reason.file is not None and reason.file.name == ORCH:
            fix_file = reason.file  # an ignore file above it cannot override it
        if reason is not None:
            first = first or reason
            fixes.append(_line(fix_file, os.fsencode(root / os.fsdecode(entry)), directory))
        here = entry + b"/"
    if first is None:
        return None
    return LeftOut(first.what, first.file, first.line, first.pattern, tuple(fixes), fix_file)


def _reason(what: str, decision: Decision | None) -> LeftOut | None:
    if decision is None or not decision.rule.ignores:
        return None
    pattern = os.fsdecode(decision.rule.text)
    if decision.file is None:
        return LeftOut(what, None, 0, f"jobs do not usually need {pattern}")
    return LeftOut(what, decision.file, decision.rule.line, pattern)


def _line(fix_file: Path, path: bytes, directory: bool) -> str:
    below = os.path.relpath(path, os.fsencode(fix_file.parent))
    return "!" + os.fsdecode(pattern_for(below, directory=directory))


def _environment(path: bytes, directory: bool) -> str:
    if directory and any(os.path.lexists(path + b"/" + mark) for mark in ENVIRONMENT_MARKS):
        return "it is a virtual environment"
    return ""


def _is_credential(path: bytes, directory: bool) -> bool:
    if credentials.is_named_like_one(path, directory=directory):
        return True
    status = status_of(path)
    return not directory and status is not None and credentials.holds_one(path, status.st_size)


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114 - bytes


def _relative(file: Path, root: Path) -> str:
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return printable(os.fsencode(name))
