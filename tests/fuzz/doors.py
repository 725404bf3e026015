"""What holds for every door that a file comes in by: a value or an error, soon, and harmless to show."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

_SOON = 30.0  # seconds: far beyond any that has been seen, and short of what backtracking takes


def corpus(door: str) -> list[Path]:
    """Return the files that are known to be nasty to `door`."""
    return sorted((Path(__file__).parent / "corpus" / door).iterdir())


def strange_things(folder: Path) -> list[Path]:
    """Return what is no file with an end, and yet has a name; made in `folder` where it is made."""
    folder.mkdir()
    pipe, link, server = folder / "pipe", folder / "link", folder / "socket"
    os.mkfifo(pipe)
    link.symlink_to("link")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(server))
    odd = [Path("/dev/null"), Path("/dev/zero"), Path("/dev/tty"), Path("a\0b"), Path("x" * 300)]
    return [pipe, link, server, folder, folder / "none", pipe / "below", *odd]


def outcome(door: Callable[[], T], *errors: type[Exception]) -> T | None:
    """Return the value that comes out, None for one of the `errors`; anything else is a failure."""
    begun = time.monotonic()
    value: T | None = None
    try:
        value = door()
    except errors as error:
        assert str(error).replace("\n", "").isprintable(), repr(str(error))
        assert str(error).strip()
    assert time.monotonic() - begun < _SOON
    return value


def contents(door: str, *pieces: bytes) -> st.SearchStrategy[bytes]:
    """Return files that are noise, or one of the corpus with some of it replaced by `pieces` or noise."""
    noise = st.one_of(st.binary(max_size=12), st.sampled_from(pieces))

    def spoiled(whole: bytes) -> st.SearchStrategy[bytes]:
        def spoil(wounds: list[tuple[int, int, bytes]]) -> bytes:
            spoiled = whole
            for at, length, new in wounds:
                at %= len(spoiled) + 1
                spoiled = spoiled[:at] + new + spoiled[at + length :]
            return spoiled

        wound = st.tuples(st.integers(0, 1 << 20), st.integers(0, 8), noise)
        return st.lists(wound, max_size=6).map(spoil)

    known = [file.read_bytes() for file in corpus(door)]
    return st.one_of(
        st.sampled_from(known).flatmap(spoiled),
        st.lists(noise, max_size=30).map(b"".join),
        st.binary(max_size=200),
    )
