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
    reads = []
    while tail.size() > tail.offset:
        reads.append(tail.read(most))
        assert reads[-1] != (b"", 0)
    tail.release()
    return reads


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
def test_reads_have_every_byte_of_the_file(parts: list[bytes], most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(b"".join(parts))
        reads = everything(path, most)
        assert b"".join(data or bytes(zeros) for data, zeros in reads) == b"".join(parts)
        assert all(len(data) <= CHUNK for data, _ in reads)


def test_hole_of_200_gb_takes_three_reads(tmp_path: Path) -> None:
    path, end = tmp_path / "log", 200_000_000_123
    with path.open("wb") as file:
        file.write(b"before\n")
        file.seek(end)
        file.write(b"after\n")
    reads = everything(path)
    assert reads == [(b"before\n", 0), (b"", end - 7), (b"after\n", 0)]


def test_hole_at_the_end_is_reported_by_its_length(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    os.truncate(path, 1 << 40)
    assert everything(path) == [(b"", 1 << 40)]


def test_data_unknown_to_the_file_system_is_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    data = bytes(4 * CHUNK) + b"written just now\n"
    path.write_bytes(data)

    def none_up_to_the_end(descriptor: int, offset: int, how: int) -> int:
        return os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "lseek", none_up_to_the_end)
    assert b"".join(found or bytes(zeros) for found, zeros in everything(path)) == data


def test_replaced_file_is_not_read(tmp_path: Path) -> None:
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
