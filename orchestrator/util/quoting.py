"""Quote arguments for a POSIX shell."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence


def command_line(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return `argv`, run under `env`, as one line for a POSIX shell.

    The shell passes on exactly these words, including spaces, quotes, `$`, newlines and non-ASCII
    characters. Raises ValueError for a NUL, which no argument or variable can hold.
    """
    words = list(argv)
    if env:
        words = ["env", *(f"{name}={value}" for name, value in env.items()), *words]
    for word in words:
        if "\0" in word:
            raise ValueError(f"a NUL byte cannot be part of a command: {word!r}")
    return shlex.join(words)


def home_path(path: str) -> str:
    """Return `path` as one word for a POSIX shell; a leading `~/` is the home of the user who runs it."""
    if path != "~" and not path.startswith("~/"):
        return shlex.quote(path)
    return '"$HOME"' + (f"/{shlex.quote(path[2:])}" if path[2:] else "")


def line_to_paste(argv: Sequence[str]) -> str:
    """Return `argv` as one line for a message, to be pasted into a shell.

    Like `command_line`, but control characters are written as `$'\\033'` (POSIX 2024; supported by bash,
    zsh and ksh).
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in argv)


def _escaped(word: str) -> str:
    """Return `word` as `$'...'`; an octal escape always has three digits, so a digit may follow it."""
    shown = "".join(
        c if c.isprintable() and c not in "'\\" else "".join(f"\\{b:03o}" for b in os.fsencode(c))
        for c in word
    )
    return f"$'{shown}'"
