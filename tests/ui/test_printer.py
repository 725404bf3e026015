"""The printer writes to stdout and stderr in order, no faster than they are read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.logs.lines import TextLines
from orchestrator.logs.stream import Stream
from orchestrator.ui.printer import Printer, Raw

OUT, ERR = (Stream("n", 0, 0, 0, channel) for channel in ("stdout", "stderr"))


@contextmanager
def piped() -> Iterator[int]:
    """Replace stdout by a pipe; yield the end to read from."""
    reader, writer = os.pipe()
    kept = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        yield reader
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def read_available(reader: int) -> bytes:
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1 << 16)
    except BlockingIOError:
        return b""


def prefixed() -> TextLines:
    return TextLines(lambda stream: b"> ", "pipe")


def test_write_writes_whole_lines_and_close_the_rest() -> None:
    with piped() as stdout:
        printer = Printer(prefixed())
        printer.show(OUT, b"one\ntw", 0.0)
        assert read_available(stdout) == b""
        printer.write()
        assert read_available(stdout) == b"> one\n"
        printer.show(OUT, b"o", 0.0)
        printer.close()
        assert read_available(stdout) == b"> two\n"


def test_message_follows_the_output_so_far(capfd: pytest.CaptureFixture[str]) -> None:
    with piped() as stdout:
        printer = Printer(prefixed())
        printer.show(OUT, b"one\n", 0.0)
        printer.say("a message")
        assert read_available(stdout) == b"> one\n"
    assert capfd.readouterr().err == "orch: a message\n"


def test_raw_stdout_and_stderr_are_kept_apart(capfd: pytest.CaptureFixture[str]) -> None:
    with piped() as stdout:
        printer = Printer(Raw(), Raw())
        printer.show(OUT, b"\x00out", 0.0)
        printer.show(ERR, b"err", 0.0)
        printer.close()
        assert read_available(stdout) == b"\x00out"
    assert capfd.readouterr().err == "err"


def test_slow_reader_of_a_non_blocking_pipe_gets_everything() -> None:
    data = bytes(range(256)) * 4000
    with piped() as stdout:
        os.set_blocking(1, False)
        printer = Printer(Raw())

        def print_all() -> None:
            printer.show(OUT, data, 0.0)
            printer.close()

        writing = threading.Thread(target=print_all)
        writing.start()
        got = b""
        while len(got) < len(data):
            got += os.read(stdout, 5000)
        writing.join(10)
    assert got == data


def test_closed_reader_raises_broken_pipe() -> None:
    with piped() as stdout:
        os.close(stdout)
        printer = Printer(Raw())
        printer.show(OUT, b"x", 0.0)
        with pytest.raises(BrokenPipeError):
            printer.close()
