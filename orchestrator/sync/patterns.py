"""Select files by patterns in the syntax of gitignore(5)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.sync.ignore import Rules


class Patterns:
    """Matches paths; without patterns, all files match.

    A pattern that matches a folder selects all files below it. The last pattern that matches decides, and
    one that starts with `!` excludes; a match of the file itself overrides that of a folder above it.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        lines = (os.fsencode(pattern).removeprefix(b"./") for pattern in patterns)
        self._rules = Rules(b"\n".join(lines)) if patterns else None

    def match(self, path: str) -> bool:
        """Tell whether the file at the relative `path` is selected."""
        if self._rules is None:
            return True
        name = os.fsencode(path)
        verdict = self._rules.ignored(name, directory=False)
        while verdict is None and b"/" in name:
            name = name[: name.rindex(b"/")]
            verdict = self._rules.ignored(name, directory=True)
        return verdict is True


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise UsageError for a pattern that can never match."""
    for pattern in patterns:
        problem = ""
        if not pattern.strip("./ ") or pattern.startswith("#"):
            problem = "matches no file"
        elif pattern.removeprefix("./").startswith("../") or "\0" in pattern or "\n" in pattern:
            problem = "is not a path below the working folder"
        if problem:
            raise UsageError(
                f"{pattern!r} {problem}",
                remedy="name what is in the working folder, as in .gitignore: 'checkpoints/', '*.pt'",
            )
