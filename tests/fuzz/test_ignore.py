"""For any ignore file, a name is soon ignored, included or undecided."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sync.ignore import Rules

CORPUS = sorted((Path(__file__).parent / "corpus" / "ignore").iterdir())
MAX_SECONDS = 10.0
NAMES = [
    b"a" * 254 + b"b",
    b"a/" * 2000 + b"c",
    b"\xff\xfe",
    b"[a]/\\a/*",
    b"a b ",
    b"-/]/^",
    b"ab" * 120,
]

SIGNS = st.sampled_from(
    [b"*", b"**", b"**/", b"/**", b"?", b"\\", b"/", b"!", b"#", b" ", b"\n", b"\n"]
)
BRACKETS = st.sampled_from(
    [b"[", b"]", b"[!", b"[^", b"[]", b"[a-", b"-z]", b"[[:alpha:]]", b"[[:", b":]]"]
)
BYTES = st.sampled_from([b"\r", b"\0", b"\xef\xbb\xbf", b"\xff"]) | st.binary(max_size=4)
PARTS = SIGNS | BRACKETS | BYTES | st.sampled_from([b"a", b"b", b"*a"])
FILES = st.lists(st.tuples(PARTS, st.sampled_from([1, 1, 1, 2, 30])), max_size=30).map(
    lambda parts: b"".join(part * times for part, times in parts)
)


def check(file: bytes, names: list[bytes]) -> None:
    started = time.monotonic()
    rules = Rules(file)
    for name in names:
        for directory in (False, True):
            assert rules.ignored(name, directory=directory) in (True, False, None)
    assert time.monotonic() - started < MAX_SECONDS


@given(file=FILES, name=st.binary(min_size=1, max_size=200))
def test_any_file_decides_about_any_name(file: bytes, name: bytes) -> None:
    check(file, [name, *NAMES])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_file_of_the_corpus_decides_about_names(path: Path) -> None:
    check(path.read_bytes(), NAMES)
