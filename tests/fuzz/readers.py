"""Checks for every reader of files: it soon returns a value or raises an error with printable text."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

_MAX_SECONDS = 30.0  # far more than any reader takes, and less than backtracking does


def corpus(reader: str) -> list[Path]:
    """Return the files that are known to be difficult for `reader`."""
    return sorted((Path(__file__).parent / "corpus" / reader).iterdir())


def special_files(folder: Path) -> list[Path]:
    """Return paths that are not regular files; those that are created are in `folder`."""
    folder.mkdir()
    pipe, link, server = folder / "pipe", folder / "link", folder / "socket"
    os.mkfifo(pipe)
    link.symlink_to("link")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(server))
    odd = [Path("/dev/null"), Path("/dev/zero"), Path("/dev/tty"), Path("a\0b"), Path("x" * 300)]
    return [pipe, link, server, folder, folder / "none", pipe / "below", *odd]


def outcome(read: Callable[[], T], *errors: type[Exception]) -> T | None:
    """Return the value of `read`, None for one of the `errors`; anything else is a failure."""
    started = time.monotonic()
    value: T | None = None
    try:
        value = read()
    except errors as error:
        assert str(error).replace("\n", "").isprintable(), repr(str(error))
        assert str(error).strip()
    assert time.monotonic() - started < _MAX_SECONDS
    return value


def contents(reader: str, *pieces: bytes) -> st.SearchStrategy[bytes]:
    """Return random files, and files of the corpus with parts replaced by `pieces` or random bytes."""
    noise = st.one_of(st.binary(max_size=12), st.sampled_from(pieces))

    def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
        def damage(changes: list[tuple[int, int, bytes]]) -> bytes:
            damaged = whole
            for at, length, new in changes:
                at %= len(damaged) + 1
                damaged = damaged[:at] + new + damaged[at + length :]
            return damaged

        change = st.tuples(st.integers(0, 1 << 20), st.integers(0, 8), noise)
        return st.lists(change, max_size=6).map(damage)

    known = [file.read_bytes() for file in corpus(reader)]
    return st.one_of(
        st.sampled_from(known).flatmap(damaged),
        st.lists(noise, max_size=30).map(b"".join),
        st.binary(max_size=200),
    )
