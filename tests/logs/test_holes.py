"""Holes in log files: found, skipped, kept in the copy, and shown as one line."""

from __future__ import annotations

import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.logs.holes import MIN_HOLE, disk_usage, extents, hole_notice
from orchestrator.logs.replay import Piece, Replay
from orchestrator.logs.store import GapError, LimitReached, Store
from orchestrator.logs.stream import Stream

OUT = Stream("node0", 0, 0, None, "stdout")
FAR = 200_000_000_123


def copy(root: Path) -> Path:
    return root / OUT.node / OUT.path


def with_hole(root: Path, length: int = FAR) -> Store:
    store = Store(root)
    store.append(OUT, 0, b"before\n", 1.0)
    assert store.append_zeros(OUT, 7, length, 2.0) == length
    store.append(OUT, 7 + length, b"after\n", 3.0)
    return store


def shown(pieces: list[Piece]) -> list[bytes]:
    assert all(a.offset + (a.hole or len(a.data)) == b.offset for a, b in pairwise(pieces))
    return [piece.data for piece in pieces]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 3 * MIN_HOLE)), max_size=6
    )
)  # fmt: skip
def test_extents_cover_the_file_and_holes_are_zeros(parts: list[tuple[bool, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("wb+") as file:
        for is_hole, length in parts:
            if is_hole:
                file.seek(length, os.SEEK_CUR)
            else:
                file.write(b"x" * length)
        file.truncate(file.tell())
        file.flush()
        size = file.tell()
        position = 0
        for start, end, is_hole in extents(file.fileno(), 0, size):
            assert start == position < end
            position = end
            data = os.pread(file.fileno(), end - start, start)
            assert not is_hole or not data.strip(b"\0")
        assert position == size


def test_copy_of_a_hole_is_a_hole_of_the_same_length(tmp_path: Path) -> None:
    with_hole(tmp_path).close()
    state = copy(tmp_path).stat()
    assert state.st_size == 7 + FAR + 6
    assert disk_usage(state) < 100_000
    with copy(tmp_path).open("rb") as file:
        assert file.read(10) == b"before\n\0\0\0"
        file.seek(-8, os.SEEK_END)
        assert file.read() == b"\0\0after\n"


def test_append_zeros_skips_what_the_copy_has(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.append_zeros(OUT, 0, 1000, 1.0) == 1000
    assert store.append_zeros(OUT, 500, 500, 1.0) == 0
    assert store.append_zeros(OUT, 500, 600, 1.0) == 100
    with pytest.raises(GapError):
        store.append_zeros(OUT, 2000, 1, 1.0)
    assert store.size(OUT) == 1100
    assert copy(tmp_path).read_bytes() == bytes(1100)
    store.close()


def test_replay_shows_a_hole_of_200_gb_as_one_line(tmp_path: Path) -> None:
    with_hole(tmp_path).close()
    began = time.monotonic()
    replay = Replay(tmp_path, {})
    assert b"".join(shown(list(replay.pieces()))) == b"before\n" + hole_notice(FAR) + b"after\n"
    assert time.monotonic() - began < 10
    replay.close()
    assert hole_notice(FAR) == b"[200.0 GB of zeros left out: a hole in the file]\n"


def test_replay_without_an_index_shows_a_hole_as_one_line(tmp_path: Path) -> None:
    with_hole(tmp_path).close()
    (tmp_path / "node0" / "index").unlink()
    replay = Replay(tmp_path, {})
    assert list(replay.pieces()) == []
    assert shown(list(replay.rest())) == [b"before\n", hole_notice(FAR), b"after\n"]
    replay.close()


def test_last_lines_skip_a_hole(tmp_path: Path) -> None:
    with_hole(tmp_path).close()
    for lines, expected in ((1, b"after\n"), (2, hole_notice(FAR) + b"after\n")):
        replay = Replay(tmp_path, {}, last=lines)
        assert b"".join(shown(list(replay.pieces()))) == expected
        replay.close()


# -- the limit ----------------------------------------------------------------------------------


def test_store_exceeds_its_limit_by_one_chunk_at_most(tmp_path: Path) -> None:
    store = Store(tmp_path, 10_000)
    store.append(OUT, 0, b"x" * 6000, 1.0)
    store.append(OUT, 6000, b"x" * 6000, 1.0)
    with pytest.raises(LimitReached):
        store.append(OUT, 12_000, b"x", 1.0)
    assert store.append(OUT, 0, b"x" * 6000, 1.0) == b""  # bytes that the copy has do not count
    assert store.largest() == (OUT, 12_000)
    store.close()
    again = Store(tmp_path, 10_000)  # another controller counts the copies
    with pytest.raises(LimitReached):
        again.append(OUT, 12_000, b"x", 1.0)
    again.close()


def test_limit_does_not_count_holes(tmp_path: Path) -> None:
    store = Store(tmp_path, 100_000)
    store.append_zeros(OUT, 0, FAR, 1.0)
    store.append(OUT, FAR, b"x", 1.0)
    store.close()
    assert Store(tmp_path, 100_000).append(OUT, FAR + 1, b"y", 1.0) == b"y"


def test_limit_counts_the_index_of_many_tiny_chunks(tmp_path: Path) -> None:
    store = Store(tmp_path, 10_000)
    with pytest.raises(LimitReached):
        for number in range(1000):
            store.append(OUT, number, b"x", 1.0)
    assert store.size(OUT) < 400
    store.close()
