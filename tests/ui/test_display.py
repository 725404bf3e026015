"""The display writes everything in order, in a separate thread and in bounded memory."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import threading
import time
import tracemalloc
import tty
from contextlib import suppress
from pathlib import Path

from orchestrator.events import Output
from orchestrator.logs.stream import Stream
from orchestrator.ui.display import Display

STREAM = Stream("n0", 0, 0, 0, "stdout")


def pieces(copy: Path, count: int, size: int) -> list[Output]:
    data = [bytes([65 + index % 26]) * size for index in range(count)]
    copy.write_bytes(b"".join(data))
    return [Output(STREAM, index * size, part, 0.0, copy) for index, part in enumerate(data)]


def read_all(descriptor: int, into: list[bytes]) -> None:
    while data := os.read(descriptor, 1 << 16):
        into.append(data)


def test_late_reader_gets_everything_in_order(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    outputs = pieces(tmp_path / "copy", 200, 1 << 18)  # 50 MB, three times what may wait in memory
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


def test_show_does_not_wait_for_the_reader(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    began = time.monotonic()
    for output in pieces(tmp_path / "copy", 100, 1 << 18):
        display.show(output)  # nothing reads
    assert time.monotonic() - began < 5
    os.close(reader)  # and nothing ever will
    display.close()
    os.close(writer)


def test_broken_pipe_is_reported_once(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    errors: list[OSError] = []
    display = Display(writer, errors.append)
    os.close(reader)
    for output in pieces(tmp_path / "copy", 3, 10):
        display.show(output)
    display.close()
    os.close(writer)
    assert [type(error) for error in errors] == [BrokenPipeError]


class Held:
    """Lines that hold everything back until they are flushed."""

    waiting = True

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        return b""

    def flush(self, now: float) -> bytes:
        return b"flushed"

    def close(self) -> bytes:
        return b"the end"


def test_held_lines_are_flushed_while_idle(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    display.lines = Held()
    display.show(pieces(tmp_path / "copy", 1, 10)[0])
    assert os.read(reader, 7) == b"flushed"
    display.close(b", the last")
    os.close(writer)
    rest: list[bytes] = []
    read_all(reader, rest)
    os.close(reader)
    assert b"".join(rest).endswith(b"the end, the last")


def test_late_reader_gets_messages_between_the_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    outputs = pieces(tmp_path / "copy", 200, 1 << 18)
    for index, output in enumerate(outputs):
        if index % 50 == 0:
            display.say(b"<%d>" % index)
        display.show(output)
    got: list[bytes] = []
    thread = threading.Thread(target=read_all, args=(reader, got))
    thread.start()
    display.close(b"<end>")
    os.close(writer)
    thread.join()
    os.close(reader)
    data = (tmp_path / "copy").read_bytes()
    quarter = len(data) // 4
    assert (
        b"".join(got)
        == b"".join(
            b"<%d>" % (index * 50) + data[index * quarter : (index + 1) * quarter]
            for index in range(4)
        )
        + b"<end>"
    )


def test_messages_without_a_reader_are_limited_and_counted() -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    display.say(b"x" * 5000 + b"\n")  # the display is busy with this one from now on
    while not select.select([reader], [], [], 10)[0]:
        pass
    for _ in range(10_000):
        display.say(b"line\n")
    got: list[bytes] = []
    thread = threading.Thread(target=read_all, args=(reader, got))
    thread.start()
    display.close()
    os.close(writer)
    thread.join()
    os.close(reader)
    shown = b"".join(got).splitlines()
    left_out = next(line for line in shown if b"left out" in line)
    assert len(shown) < 1000
    assert int(left_out.split()[1]) + shown.count(b"line") == 10_000


def test_close_with_timeout_still_writes_the_last_message(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    for output in pieces(tmp_path / "copy", 30, 1 << 20):
        display.show(output)
    got: list[bytes] = []

    def read_slowly() -> None:
        while data := os.read(reader, 1 << 20):
            got.append(data)
            time.sleep(0.2)

    thread = threading.Thread(target=read_slowly)
    thread.start()
    began = time.monotonic()
    display.close(b"the end\n", timeout=0.5)
    assert time.monotonic() - began < 10
    os.close(writer)
    thread.join()
    os.close(reader)
    assert b"".join(got).endswith(b"the end\n")
    assert sum(map(len, got)) < 20 << 20


def test_small_writes_without_a_reader_take_little_memory(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    copy = tmp_path / "copy"
    copy.write_bytes(b"x" * 70_000_000)
    chunk = b"x" * (1 << 20)
    for index in range(20):  # more than the pipe and the memory hold
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


def test_non_blocking_pipe_gets_everything(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    errors: list[OSError] = []
    display = Display(writer, errors.append)
    for output in pieces(tmp_path / "copy", 20, 1 << 18):
        display.show(output)
    got: list[bytes] = []
    thread = threading.Thread(target=read_all, args=(reader, got))
    thread.start()
    display.close()
    os.close(writer)
    thread.join()
    os.close(reader)
    assert errors == []
    assert b"".join(got) == (tmp_path / "copy").read_bytes()


def test_copy_that_cannot_be_read_is_reported_and_skipped(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    for output in pieces(tmp_path / "copy", 100, 1 << 18):
        display.show(output)
    (tmp_path / "copy").unlink()
    display.say(b"still here\n")
    got: list[bytes] = []
    thread = threading.Thread(target=read_all, args=(reader, got))
    thread.start()
    display.close()
    os.close(writer)
    thread.join()
    os.close(reader)
    shown = b"".join(got)
    assert b"cannot read back" in shown
    assert shown.endswith(b"still here\n")


def test_terminal_that_falls_far_behind_skips_output(tmp_path: Path) -> None:
    """Output that leaves the scrollback before anyone could read it is skipped, but not the last lines."""
    lines = [b"line %07d\n" % number for number in range(2_000_000)]  # 26 MB
    data = b"".join(lines)
    copy = tmp_path / "copy"
    copy.write_bytes(data)
    reader, writer = pty.openpty()
    tty.setraw(writer)
    display = Display(writer)
    step = 1 << 18
    for offset in range(0, len(data), step):
        display.show(Output(STREAM, offset, data[offset : offset + step], 0.0, copy))
    got: list[bytes] = []
    thread = threading.Thread(target=read_all_of_terminal, args=(reader, got))
    thread.start()
    display.close(b"the verdict\n")
    os.close(writer)
    thread.join()
    os.close(reader)
    shown = b"".join(got).splitlines(keepends=True)
    assert len(shown) < len(lines) / 2
    assert (shown[0], shown[-1]) == (lines[0], b"the verdict\n")
    (notice,) = [line for line in shown if b"MB of output skipped" in line]
    assert b"`orch logs` shows all of it" in notice
    tail = shown[shown.index(notice) + 2 : -1]  # after the line that was shown in part
    assert len(tail) > 50_000
    assert tail == lines[-len(tail) :]


def read_all_of_terminal(descriptor: int, into: list[bytes]) -> None:
    with suppress(OSError):  # the other end is closed
        read_all(descriptor, into)
