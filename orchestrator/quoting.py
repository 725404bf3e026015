"""The one place where words become a POSIX shell command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence


def command_line(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return `argv`, run under `env`, as one line for a POSIX shell.

    Whatever the words hold (spaces, quotes, `$`, newlines, non-ASCII), the shell hands exactly
    these words on. Raises ValueError on a NUL, which no argument or variable can hold.
    """
    words = list(argv)
    if env:
        words = ["env", *(f"{name}={value}" for name, value in env.items()), *words]
    for word in words:
        if "\0" in word:
            raise ValueError(f"a NUL byte cannot be part of a command: {word!r}")
    return shlex.join(words)


def home_path(path: str) -> str:
    """Return `path` as one word for a POSIX shell; a leading `~/` stays the home of whoever runs it."""
    if path == "~":
        return '"$HOME"'
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}' if path[2:] else '"$HOME"'
    return shlex.quote(path)
