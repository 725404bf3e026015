from __future__ import annotations

import os
import shutil
import tempfile
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs import replay as replay_module
from orchestrator.logs.index import INDEX_NAME, RECORD_SIZE
from orchestrator.logs.replay import Piece, Replay
from orchestrator.logs.store import Store
from orchestrator.logs.stream import Stream

A0 = Stream("a", 0, 0, 0, "stdout")
A1 = Stream("a", 0, 1, 1, "stderr")
B2 = Stream("b", 0, 2, 0, "stdout")
STREAMS = (A0, A1, B2)

CHUNKS = st.lists(
    st.tuples(
        st.sampled_from(STREAMS),
        st.lists(st.sampled_from([b"\n", b"x", b"yz\n", b"1\n2\n"]), min_size=1, max_size=4).map(
            b"".join
        ),
    ),
    max_size=25,
)


class Writer:
    """Appends to the store as a controller does, one second per chunk by default."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.contents = dict.fromkeys(STREAMS, b"")
        self.t = 0.0

    def __call__(self, stream: Stream, data: bytes, t: float | None = None) -> None:
        self.store.append(stream, len(self.contents[stream]), data, self.t if t is None else t)
        self.contents[stream] += data
        self.t += 1.0


def by_stream(pieces: list[Piece]) -> dict[Stream, bytes]:
    contents = dict.fromkeys(STREAMS, b"")
    for piece in pieces:
        contents[piece.stream] += piece.data
    return contents


def lines_of(pieces: list[Piece]) -> list[tuple[Stream, bytes]]:
    """Whole lines in the order of their ends, then the unfinished ones."""
    lines, partials = [], dict.fromkeys(STREAMS, b"")
    for piece in pieces:
        stream = next(stream for stream in STREAMS if stream.path == piece.stream.path)
        *whole, partials[stream] = (partials[stream] + piece.data).split(b"\n")
        lines += [(stream, line) for line in whole]
    return lines + [(stream, rest) for stream, rest in partials.items() if rest]


def texts(replay: Replay) -> list[bytes]:
    return [piece.data for piece in replay.pieces()]


class TestOrder:
    def test_pieces_are_in_order_of_time_across_nodes(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"1\n", 1.0)
        write(A1, b"3\n", 3.0)
        write(B2, b"2\n", 2.0)
        write(B2, b"4\n", 4.0)
        assert list(Replay(tmp_path, {}).pieces()) == [
            Piece(1.0, A0, 0, b"1\n"),
            Piece(2.0, B2, 0, b"2\n"),
            Piece(3.0, A1, 0, b"3\n"),
            Piece(4.0, B2, 2, b"4\n"),
        ]

    def test_times_are_corrected_for_the_clocks_of_nodes(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"second\n", 2.0)
        write(B2, b"first\n", 101.0)
        pieces = list(Replay(tmp_path, {"b": 100.0}).pieces())
        assert [(piece.t, piece.data) for piece in pieces] == [
            (1.0, b"first\n"),
            (2.0, b"second\n"),
        ]

    def test_clock_step_back_does_not_change_the_order_of_a_node(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        for data, t in ((b"1", 5.0), (b"2", 1.0), (b"3", 6.0)):
            write(A0, data, t)
        assert texts(Replay(tmp_path, {})) == [b"1", b"2", b"3"]

    def test_replay_of_nothing_is_empty(self, tmp_path: Path) -> None:
        replay = Replay(tmp_path / "none", {}, since=1.0, last=5)
        assert [*replay.pieces(), *replay.rest()] == []

    def test_only_wanted_streams_are_read(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"out\n")
        write(A1, b"err\n")
        with (tmp_path / A1.node / A1.path).open("ab") as file:
            file.write(b"unknown to the index\n")
        replay = Replay(tmp_path, {}, lambda stream: stream.channel == "stdout")
        assert [piece.data for piece in [*replay.pieces(), *replay.rest()]] == [b"out\n"]


class TestGrowth:
    @given(CHUNKS, st.data())
    def test_repeated_calls_read_every_byte_once(
        self, chunks: list[tuple[Stream, bytes]], data: st.DataObject
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write, replay = Writer(Path(folder)), Replay(Path(folder), {})
            read: list[Piece] = []
            for stream, chunk in chunks:
                write(stream, chunk)
                if data.draw(st.booleans()):
                    read += replay.pieces()
            read += replay.pieces()
            assert by_stream(read) == write.contents
            assert list(replay.rest()) == []
            replay.close()
            write.store.close()

    def test_torn_last_record_waits_for_its_rest(self, tmp_path: Path) -> None:
        write, replay = Writer(tmp_path), Replay(tmp_path, {})
        write(A0, b"1\n")
        write(A0, b"2\n")
        index = tmp_path / "a" / INDEX_NAME
        whole = index.read_bytes()
        index.write_bytes(whole[: RECORD_SIZE + 5])
        assert texts(replay) == [b"1\n"]
        assert texts(replay) == []
        index.write_bytes(whole)
        assert texts(replay) == [b"2\n"]

    def test_rest_has_what_no_record_names(self, tmp_path: Path) -> None:
        write, replay = Writer(tmp_path), Replay(tmp_path, {"a": 1000.0})
        write(A0, b"1\n")
        with (tmp_path / "a" / A0.path).open("ab") as file:
            file.write(b"2\n")
        os.utime(tmp_path / "a" / A0.path, (50.0, 50.0))
        assert texts(replay) == [b"1\n"]
        assert list(replay.rest()) == [Piece(50.0, A0, 2, b"2\n")]
        assert list(replay.rest()) == []

    def test_two_readers_follow_one_writer(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        written = threading.Event()
        found: list[dict[Stream, bytes]] = []

        def read() -> None:
            replay, pieces = Replay(tmp_path, {}), list[Piece]()
            while not written.wait(0.001):
                pieces += replay.pieces()
            found.append(by_stream([*pieces, *replay.pieces()]))
            replay.close()

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(1500):
            write(STREAMS[number % 3], b"%d\n" % number * (number % 50))
        written.set()
        for reader in readers:
            reader.join(30)
        assert found == [write.contents, write.contents]

    def test_number_of_open_files_is_limited(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay_module, "_MAX_OPEN", 4)
        store = Store(tmp_path)
        for rank in range(20):
            store.append(Stream("a", 0, rank, rank, "stdout"), 0, b"%d\n" % rank, float(rank))
        store.close()
        before = len(list(Path("/dev/fd").iterdir()))
        replay = Replay(tmp_path, {})
        assert len(texts(replay)) == 20
        assert len(list(Path("/dev/fd").iterdir())) <= before + 4
        replay.close()
        assert len(list(Path("/dev/fd").iterdir())) == before


class TestLastLines:
    @given(CHUNKS, st.integers(0, 12))
    def test_requested_number_of_lines_is_left(
        self, chunks: list[tuple[Stream, bytes]], last: int
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write = Writer(root)
            for stream, chunk in chunks:
                write(stream, chunk)
            everything = lines_of(list(Replay(root, {}).pieces()))
            left = lines_of(list(Replay(root, {}, last=last).pieces()))
            write.store.close()
        assert len(left) == min(last, len(everything))
        for stream in STREAMS:  # each stream's own last ones
            own = [line for of, line in everything if of is stream]
            own_left = [line for of, line in left if of is stream]
            assert own[len(own) - len(own_left) :] == own_left
        if all(chunk.endswith(b"\n") for _, chunk in chunks):
            assert left == everything[len(everything) - len(left) :]

    def test_last_lines_are_those_of_all_streams_by_time(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(B2, b"old\n", 1.0)
        write(A0, b"1\n2\n3\n", 5.0)
        write(A1, b"4\n", 6.0)
        replay = Replay(tmp_path, {}, last=3)
        assert texts(replay) == [b"2\n3\n", b"4\n"]
        write(B2, b"new\n", 7.0)
        assert texts(replay) == [b"new\n"]

    def test_line_in_several_chunks_is_whole(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"x\nbe", 1.0)
        write(A1, b"between\n", 2.0)
        write(A0, b"gun\n", 3.0)
        assert texts(Replay(tmp_path, {}, last=1)) == [b"begun\n"]

    def test_line_of_many_chunks_is_whole(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"old\n" + b"x" * 200_000, 1.0)
        for t in range(2, 7):
            write(A0, b"x" * 200_000, float(t))
        write(A0, b"\n", 7.0)
        for replay in (Replay(tmp_path, {}, last=1), Replay(tmp_path, {}, since=6.5)):
            assert b"".join(texts(replay)) == b"x" * 1_200_000 + b"\n"

    def test_last_0_shows_an_unfinished_line_whole(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"old\nbe")
        replay = Replay(tmp_path, {}, last=0)
        assert texts(replay) == []
        write(A0, b"gun\n")
        assert texts(replay) == [b"begun\n"]

    def test_chunk_without_its_record_is_not_missed(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(B2, b"1\n")
        write(A0, b"old\n")
        file, index = tmp_path / "b" / B2.path, tmp_path / "b" / INDEX_NAME
        write(B2, b"2\n")
        whole = index.read_bytes()
        index.write_bytes(whole[:RECORD_SIZE])  # the bytes are stored, their record is not yet
        assert file.read_bytes() == b"1\n2\n"
        replay = Replay(tmp_path, {}, last=0)
        index.write_bytes(whole)
        assert texts(replay) == [b"2\n"]

    @given(CHUNKS, st.integers(0, 30), st.integers(0, 40))
    def test_damaged_index_still_gives_whole_last_lines(
        self, chunks: list[tuple[Stream, bytes]], last: int, kept: int
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write = Writer(root)
            for stream, chunk in chunks:
                write(stream, chunk)
            write.store.close()
            for index in root.glob(f"*/{INDEX_NAME}"):
                index.write_bytes(index.read_bytes()[: kept * 13])
            replay = Replay(root, {}, last=last)
            left = lines_of([*replay.pieces(), *replay.rest()])
            everything = lines_of(list(pieces_of(write.contents)))
        assert len(left) == min(last, len(everything))
        assert all(line in everything for line in left)


def pieces_of(contents: dict[Stream, bytes]) -> list[Piece]:
    return [Piece(0.0, stream, 0, data) for stream, data in contents.items()]


class TestSince:
    @given(CHUNKS, st.floats(-1, 30))
    def test_replay_starts_with_the_first_line_that_ends_since(
        self, chunks: list[tuple[Stream, bytes]], since: float
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write = Writer(root)
            for stream, chunk in chunks:
                write(stream, chunk)
            write.store.close()
            everything = list(Replay(root, {}).pieces())
            replay = Replay(root, {}, since=since)
            read = list(replay.pieces())
            assert list(replay.rest()) == []
        before = by_stream([piece for piece in everything if piece.t < since])
        since_then = by_stream([piece for piece in everything if piece.t >= since])
        begun = {stream: data[data.rfind(b"\n") + 1 :] for stream, data in before.items()}
        assert by_stream(read) == {
            stream: begun[stream] + data if data else b"" for stream, data in since_then.items()
        }

    def test_rest_counts_by_the_time_of_its_file(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        for stream in (A0, A1):
            write(stream, b"old\n", 10.0)
            with (tmp_path / "a" / stream.path).open("ab") as file:
                file.write(b"unknown\n")
        write(B2, b"new\n", 30.0)
        os.utime(tmp_path / "a" / A0.path, (15.0, 15.0))
        os.utime(tmp_path / "a" / A1.path, (25.0, 25.0))
        replay = Replay(tmp_path, {}, since=20.0)
        assert texts(replay) == [b"new\n"]
        assert list(replay.rest()) == [Piece(25.0, A1, 4, b"unknown\n")]

    def test_since_without_an_index_uses_the_time_of_the_file(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"old\n")
        (tmp_path / "a" / INDEX_NAME).unlink()
        os.utime(tmp_path / "a" / A0.path, (15.0, 15.0))
        for since, shown in ((10.0, [b"old\n"]), (20.0, [])):
            assert [piece.data for piece in Replay(tmp_path, {}, since=since).rest()] == shown

    def test_since_is_a_time_of_this_machine(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        write(A0, b"old\n", 110.0)
        write(A0, b"new\n", 120.0)
        assert texts(Replay(tmp_path, {"a": 100.0}, since=15.0)) == [b"new\n"]

    def test_since_and_last_combine(self, tmp_path: Path) -> None:
        write = Writer(tmp_path)
        for number in range(10):
            write(A0, b"%d\n" % number)
        assert texts(Replay(tmp_path, {}, since=7.0, last=9)) == [b"7\n", b"8\n", b"9\n"]
        assert texts(Replay(tmp_path, {}, since=2.0, last=2)) == [b"8\n", b"9\n"]


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e300, 1e300])
def test_record_with_an_invalid_time_is_skipped(tmp_path: Path, garbage: float) -> None:
    write = Writer(tmp_path)
    write(A0, b"1\n", 10.0)
    write(A0, b"2\n", garbage)
    write(A0, b"3\n", 30.0)
    assert texts(Replay(tmp_path, {})) == [b"1\n", b"2\n3\n"]
    assert texts(Replay(tmp_path, {}, since=20.0)) == [b"3\n"]
    assert texts(Replay(tmp_path, {}, last=2)) == [b"2\n3\n"]


def test_memory_is_bounded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    chunk = b"x" * 99 + b"\n"
    for number in range(20_000):
        store.append(A0, number * 100, chunk, float(number))
    store.append(B2, 0, chunk * 160_000, 30_000.0)  # 16 MB in one record
    store.close()
    tracemalloc.start()
    try:
        total = sum(len(piece.data) for piece in Replay(tmp_path, {}).pieces())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 18_000_000
    assert peak < 2_000_000


def test_removed_file_raises_while_open_ones_are_read(tmp_path: Path) -> None:
    """A run is pruned while a pager shows it: open files are still readable, others are gone."""
    store = Store(tmp_path)
    for rank, node in enumerate("ab"):
        store.append(Stream(node, 0, rank, 0, "stdout"), 0, b"line\n", 100.0 + rank)
    store.close()
    replay = Replay(tmp_path, {})
    pieces = replay.pieces()
    assert next(pieces).stream.node == "a"
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"rank-1\.out"):
        next(pieces)
    replay.close()
