from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.index import MAX_LENGTH, RECORD_SIZE, IndexReader, Record
from orchestrator.logs.store import Store
from orchestrator.logs.stream import Stream

OUT = Stream("node0", 0, 0, 0, "stdout")
ERR = Stream("node0", 0, 0, 0, "stderr")
STREAMS = (OUT, ERR, Stream("node0", 1, 7, 3, "stdout"), Stream("node0", 0, None, None, "stderr"))


def everything(root: Path) -> list[Record]:
    reader = IndexReader(root, "node0")
    return [*reader.records(), *reader.rest()]


def filled(root: Path, chunks: list[tuple[Stream, bytes]]) -> dict[Stream, bytes]:
    """Store these chunks, one second apart from 0.0 on; return what each stream has."""
    store, contents = Store(root), dict.fromkeys(STREAMS, b"")
    for t, (stream, chunk) in enumerate(chunks):
        store.append(stream, len(contents[stream]), chunk, float(t))
        contents[stream] += chunk
    store.close()
    return contents


def replayed(root: Path) -> dict[Stream, bytes]:
    """Return what each stream has according to the index."""
    contents = dict.fromkeys(STREAMS, b"")
    for record in everything(root):
        data = (root / "node0" / record.stream.path).read_bytes()
        assert record.offset == len(contents[record.stream])
        contents[record.stream] += data[record.offset : record.offset + record.length]
    return contents


def test_records_are_in_order_of_arrival(tmp_path: Path) -> None:
    filled(tmp_path, [(OUT, b"abc"), (ERR, b"x"), (OUT, b"de")])
    assert everything(tmp_path) == [
        Record(0.0, OUT, 0, 3),
        Record(1.0, ERR, 0, 1),
        Record(2.0, OUT, 3, 2),
    ]


def test_records_of_a_node_without_a_store_are_empty(tmp_path: Path) -> None:
    assert everything(tmp_path) == []


def test_repeated_chunk_adds_no_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(OUT, 0, b"abc", 1.0)
    store.append(OUT, 0, b"abc", 2.0)
    store.append(OUT, 1, b"bcd", 3.0)
    store.close()
    assert (tmp_path / "node0/index").stat().st_size == 2 * RECORD_SIZE
    assert everything(tmp_path) == [Record(1.0, OUT, 0, 3), Record(3.0, OUT, 3, 1)]


@pytest.mark.parametrize("torn", [1, RECORD_SIZE - 1])
def test_torn_last_record_is_skipped_and_overwritten(tmp_path: Path, torn: int) -> None:
    filled(tmp_path, [(OUT, b"abc"), (ERR, b"x")])
    index = tmp_path / "node0/index"
    index.write_bytes(index.read_bytes()[:-torn])
    first, tail = everything(tmp_path)
    assert first == Record(0.0, OUT, 0, 3)
    assert (tail.stream.path, tail.offset, tail.length) == (ERR.path, 0, 1)
    store = Store(tmp_path)
    store.append(OUT, 3, b"de", 5.0)
    store.close()
    assert everything(tmp_path)[:2] == [first, Record(5.0, OUT, 3, 2)]


def test_rest_has_the_time_of_the_last_write(
    tmp_path: Path,
) -> None:
    filled(tmp_path, [(OUT, b"abc")])
    with (tmp_path / "node0" / OUT.path).open("ab") as file:
        file.write(b"x" * (MAX_LENGTH + 1))
    written = (tmp_path / "node0" / OUT.path).stat().st_mtime
    assert everything(tmp_path)[1:] == [
        Record(written, OUT, 3, MAX_LENGTH),
        Record(written, OUT, 3 + MAX_LENGTH, 1),
    ]


@given(
    st.lists(st.tuples(st.sampled_from(STREAMS), st.binary(min_size=1, max_size=5)), max_size=8),
    st.data(),
)
def test_every_byte_is_read_once_despite_a_damaged_index(
    chunks: list[tuple[Stream, bytes]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        contents = filled(root, chunks)
        assert replayed(root) == contents
        index = root / "node0/index"
        if not index.exists():
            return
        raw = bytearray(index.read_bytes())
        for _ in range(data.draw(st.integers(0, 3), label="damages")):
            where = data.draw(st.integers(0, len(raw)))
            raw[where : where + 8] = data.draw(st.binary(max_size=40))
        index.write_bytes(raw)
        by_path = {stream.path: b"" for stream in STREAMS}
        for record in everything(root):
            path = record.stream.path
            assert record.offset == len(by_path[path])
            end = record.offset + record.length
            by_path[path] += (root / "node0" / path).read_bytes()[record.offset : end]
        assert by_path == {stream.path: content for stream, content in contents.items()}


def test_hole_in_the_index_is_skipped(tmp_path: Path) -> None:
    filled(tmp_path, [(OUT, b"abc")])
    index = tmp_path / "node0" / "index"
    record = index.read_bytes()
    os.truncate(index, RECORD_SIZE * (1 << 35))
    with index.open("ab") as file:
        file.write(record)
    os.truncate(index, RECORD_SIZE * (1 << 36))
    assert everything(tmp_path) == [Record(0.0, OUT, 0, 3)]
    reader = IndexReader(tmp_path, "node0")
    reader.skip_before(1.0)
    assert list(reader.records()) == []
    newest = IndexReader(tmp_path, "node0").newest_first()
    assert [record for _, record in newest] == [Record(0.0, OUT, 0, 3)]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    filled(tmp_path, [(OUT, b"abc"), (ERR, b"x")])
    for name in ("index", "attempt-0/rank-0.err"):
        (tmp_path / "node0" / name).unlink()
        os.mkfifo(tmp_path / "node0" / name)
    assert [record.stream.path for record in everything(tmp_path)] == [OUT.path]
