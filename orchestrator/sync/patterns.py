"""Which files are meant by patterns in the syntax of gitignore(5)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.sync.ignore import Rules


class Patterns:
    """Matches paths; no pattern at all stands for all files.

    A folder stands for all that is below it. The last pattern that matches decides, one that begins with
    `!` against it; what matches a file itself goes before what matches a folder above it.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        lines = (os.fsencode(pattern).removeprefix(b"./") for pattern in patterns)
        self._rules = Rules(b"\n".join(lines)) if patterns else None

    def match(self, path: str) -> bool:
        """Tell whether the file at `path`, relative, is meant."""
        if self._rules is None:
            return True
        name = os.fsencode(path)
        verdict = self._rules.ignored(name, directory=False)
        while verdict is None and b"/" in name:
            name = name[: name.rindex(b"/")]
            verdict = self._rules.ignored(name, directory=True)
        return verdict is True


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise UsageError for a pattern that can match nothing."""
    for pattern in patterns:
        if not pattern.strip("./ ") or pattern.startswith("#"):
            raise UsageError(
                f"{pattern!r} matches no file",
                remedy="name what is in the working folder, as in .gitignore: 'checkpoints/', '*.pt'",
            )
        if pattern.removeprefix("./").startswith("../") or "\0" in pattern or "\n" in pattern:
            raise UsageError(
                f"{pattern!r} is no path below the working folder",
                remedy="name what is in the working folder, as in .gitignore: 'checkpoints/', '*.pt'",
            )
