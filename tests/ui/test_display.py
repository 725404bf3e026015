"""Output reaches stdout in a thread of its own: whole, in order, in bounded memory."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from pathlib import Path

from orchestrator.events import Output
from orchestrator.logs.stream import Stream
from orchestrator.ui.display import Display

STREAM = Stream("n0", 0, 0, 0, "stdout")


class Plain:
    """Shows bytes as they are."""

    waiting = False

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        return chunk

    def flush(self, now: float) -> bytes:
        return b""

    def close(self) -> bytes:
        return b"end\n"


def pieces(copy: Path, count: int, size: int) -> list[Output]:
    data = [bytes([65 + index % 26]) * size for index in range(count)]
    copy.write_bytes(b"".join(data))
    return [Output(STREAM, index * size, part, 0.0, copy) for index, part in enumerate(data)]


def read_all(descriptor: int, into: list[bytes]) -> None:
    while data := os.read(descriptor, 1 << 16):
        into.append(data)


def test_everything_arrives_in_order_when_the_reader_comes_late(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(Plain(), lambda stream: writer, lambda error: None)
    outputs = pieces(tmp_path / "copy", 200, 1 << 18)  # 50 MB, three times what waits in memory
    for output in outputs:
        display.show(output)
    got: list[bytes] = []
    thread = threading.Thread(target=read_all, args=(reader, got))
    thread.start()
    display.close()
    os.close(writer)
    thread.join()
    os.close(reader)
    assert b"".join(got) == (tmp_path / "copy").read_bytes()


def test_showing_never_waits_for_the_reader(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(Plain(), lambda stream: writer, lambda error: None)
    began = time.monotonic()
    for output in pieces(tmp_path / "copy", 100, 1 << 18):
        display.show(output)  # nobody reads
    assert time.monotonic() - began < 5
    os.close(reader)  # now nobody ever will
    display.close()
    os.close(writer)


def test_a_reader_that_goes_away_is_told_once(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    told: list[OSError] = []
    display = Display(Plain(), lambda stream: writer, told.append)
    os.close(reader)
    for output in pieces(tmp_path / "copy", 3, 10):
        display.show(output)
    display.close()
    os.close(writer)
    assert [type(error) for error in told] == [BrokenPipeError]


def test_what_is_held_back_is_flushed_while_nothing_comes(tmp_path: Path) -> None:
    class Held(Plain):
        waiting = True

        def flush(self, now: float) -> bytes:
            return b"flushed"

    reader, writer = os.pipe()
    written = os.dup(1)
    os.dup2(writer, 1)  # flushed lines are of no one stream: they go to stdout
    try:
        display = Display(Held(), lambda stream: writer, lambda error: None)
        assert os.read(reader, 7) == b"flushed"
        display.close()
    finally:
        os.dup2(written, 1)
        for descriptor in (written, reader, writer):
            os.close(descriptor)


def test_a_trickle_that_nobody_reads_takes_no_memory(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(Plain(), lambda stream: writer, lambda error: None)
    copy = tmp_path / "copy"
    copy.write_bytes(b"x" * 70_000_000)
    chunk = b"x" * (1 << 20)
    for index in range(20):  # more than a pipe and the memory hold
        display.show(Output(STREAM, index << 20, chunk, 0.0, copy))
    tracemalloc.start()
    for offset in range(20 << 20, (20 << 20) + 200_000, 2):
        display.show(Output(STREAM, offset, b"xx", 0.0, copy))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1_000_000  # not a hundred thousand pieces
    os.close(reader)
    display.close()
    os.close(writer)


def test_a_reader_that_made_the_pipe_non_blocking_gets_everything(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    told: list[OSError] = []
    display = Display(Plain(), lambda stream: writer, told.append)
    for output in pieces(tmp_path / "copy", 20, 1 << 18):
        display.show(output)
    got: list[bytes] = []
    thread = threading.Thread(target=read_all, args=(reader, got))
    thread.start()
    display.close()
    os.close(writer)
    thread.join()
    os.close(reader)
    assert told == []
    assert b"".join(got) == (tmp_path / "copy").read_bytes()
