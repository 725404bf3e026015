"""The one place where words become a POSIX shell command line."""

from __future__ import annotations

import os
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


def line_to_paste(argv: Sequence[str]) -> str:
    """Return `argv` as one line for a message, which a person pastes into a shell.

    As `command_line`, but what a terminal would obey, or not show, is written as `$'\\033'` (POSIX
    2024, and long before it in bash, zsh and ksh).
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in argv)


def _escaped(word: str) -> str:
    """Return `word` in quotes that have escapes; three octal digits end where the next character begins."""
    shown = "".join(
        c if c.isprintable() and c not in "'\\" else "".join(f"\\{b:03o}" for b in os.fsencode(c))
        for c in word
    )
    return f"$'{shown}'"
