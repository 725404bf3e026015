"""Output straight to stdout and stderr: in order, whole, and no faster than it is read."""

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
    """Put a pipe in the place of stdout; gives the end to read from."""
    reader, writer = os.pipe()
    kept = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        yield reader
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def taken(reader: int) -> bytes:
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1 << 16)
    except BlockingIOError:
        return b""


def prefixed() -> TextLines:
    return TextLines(lambda stream: b"> ", "pipe")


def test_whole_lines_are_written_when_asked_and_the_rest_at_the_end() -> None:
    with piped() as stdout:
        printer = Printer(prefixed())
        printer.show(OUT, b"one\ntw", 0.0)
        assert taken(stdout) == b""
        printer.write()
        assert taken(stdout) == b"> one\n"
        printer.show(OUT, b"o", 0.0)
        printer.close()
        assert taken(stdout) == b"> two\n"


def test_a_message_comes_after_the_output_so_far(capfd: pytest.CaptureFixture[str]) -> None:
    with piped() as stdout:
        printer = Printer(prefixed())
        printer.show(OUT, b"one\n", 0.0)
        printer.say("a word")
        assert taken(stdout) == b"> one\n"
    assert capfd.readouterr().err == "orch: a word\n"


def test_raw_bytes_of_the_two_streams_go_their_own_ways(capfd: pytest.CaptureFixture[str]) -> None:
    with piped() as stdout:
        printer = Printer(Raw(), Raw())
        printer.show(OUT, b"\x00out", 0.0)
        printer.show(ERR, b"err", 0.0)
        printer.close()
        assert taken(stdout) == b"\x00out"
    assert capfd.readouterr().err == "err"


def test_a_slow_reader_is_waited_for_also_by_a_pipe_that_does_not_block() -> None:
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


def test_that_nobody_reads_any_more_is_an_error() -> None:
    with piped() as stdout:
        os.close(stdout)
        printer = Printer(Raw())
        printer.show(OUT, b"x", 0.0)
        with pytest.raises(BrokenPipeError):
            printer.close()
