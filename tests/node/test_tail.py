"""Reading a log file as it grows: every byte once, and long runs of zeros by their length."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.node.tail import CHUNK, HOLE, Replaced, Tail

_ALL = 1 << 44


def everything(path: Path, most: int = _ALL) -> list[tuple[bytes, int]]:
    tail = Tail(str(path), 0, 0.0)
    told = []
    while tail.size() > tail.offset:
        told.append(tail.read(most))
        assert told[-1] != (b"", 0)
    tail.release()
    return told


pieces = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=20),
        st.integers(1, 3 * CHUNK).map(bytes),
        st.integers(1, 4).map(lambda n: b"x" * n * HOLE),
    ),
    max_size=6,
)


@settings(max_examples=40)
@given(pieces, st.sampled_from([_ALL, CHUNK, 100_000]))
def test_what_is_told_is_what_the_file_has(parts: list[bytes], most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(b"".join(parts))
        told = everything(path, most)
        assert b"".join(data or bytes(zeros) for data, zeros in told) == b"".join(parts)
        assert all(len(data) <= CHUNK for data, _ in told)


def test_hole_of_200_gb_is_told_by_a_few_messages(tmp_path: Path) -> None:
    path, end = tmp_path / "log", 200_000_000_123
    with path.open("wb") as file:
        file.write(b"before\n")
        file.seek(end)
        file.write(b"after\n")
    told = everything(path)
    assert told == [(b"before\n", 0), (b"", end - 7), (b"after\n", 0)]


def test_hole_at_the_end_of_the_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    os.truncate(path, 1 << 40)
    assert everything(path) == [(b"", 1 << 40)]


def test_data_that_the_file_system_does_not_know_of_yet_is_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    data = bytes(4 * CHUNK) + b"written just now\n"
    path.write_bytes(data)

    def none_up_to_the_end(descriptor: int, offset: int, how: int) -> int:
        return os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "lseek", none_up_to_the_end)
    assert b"".join(found or bytes(zeros) for found, zeros in everything(path)) == data


def test_file_that_took_the_place_of_a_closed_one_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one")
    tail = Tail(str(path), 0, 0.0)
    tail.read(_ALL)
    tail.release()
    assert tail.size() == 3
    tail.release()
    (tmp_path / "other").write_bytes(b"another file")
    (tmp_path / "other").replace(path)
    assert tail.is_replaced()
    with pytest.raises(Replaced):
        tail.size()
