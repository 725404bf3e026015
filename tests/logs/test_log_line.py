"""Lines of output as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.logs.chunking import MAX_LINE_BYTES
from orchestrator.logs.log_line import LineSplitter, last_line
from orchestrator.logs.stream import Stream

OUT = Stream("node1", 0, 3, 1, "stdout")
ERR = Stream("node1", 0, 3, 1, "stderr")


def test_splitter_joins_chunks_and_takes_the_time_of_the_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(OUT, b"lo", 1.0) == []
    assert splitter.feed(ERR, b"other\n", 2.0)[0].text == "other"
    first, empty = splitter.feed(OUT, b"ss 1\r\n\nlo", 3.0)
    assert (first.text, first.time, first.rank, first.node) == ("loss 1", 3.0, 3, "node1")
    assert empty.text == ""
    (last,) = splitter.close()
    assert (last.text, last.time, last.stream) == ("lo", 3.0, "stdout")
    assert splitter.close() == []


def test_splitter_escapes_bytes_that_are_not_utf8() -> None:
    (line,) = LineSplitter().feed(OUT, b"caf\xc3\xa9 \xff\n", 1.0)
    assert line.text == "café \\xff"


def test_str_of_a_line_has_no_control_sequences_but_colour() -> None:
    (line,) = LineSplitter().feed(OUT, b"\x1b[31mred\x1b[0m \x1b]0;title\x07\n", 1.0)
    assert str(line) == "r3 node1 │ \x1b[31mred\x1b[0m ^[]0;title^G"
    (line,) = LineSplitter().feed(Stream("node1", 0, None, None, "stderr"), b"x\n", 1.0)
    assert str(line) == "-- node1 │ x"


def test_splitter_splits_an_endless_line() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(3) for line in splitter.feed(OUT, b"x" * MAX_LINE_BYTES, 1.0)]
    assert lines
    assert sum(len(line.text) for line in (*lines, *splitter.close())) == 3 * MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a\nb\n", "b"),
        (b"a\nunfini", "unfini"),
        (b"a\n\n \r\n\x1b[0m\n", "a"),
        (b"x\r 10%\r 20%\r", "20%"),
        (b"\x1b[31mred\x1b[0m \x1b[2J\xff\n", "red ^[[2J\ufffd"),
        (b"a\n" + b"x" * 9000, "…" + "x" * 8192),
        (b"a\n" + b"x" * 9000 + b"\r100%", "100%"),
        (b"a\n" + b"x" * 8190 + b"\nb", "b"),
        (b"a" + b"\n" * 9000, ""),
        (b"", ""),
    ],
)
def test_last_line_is_what_a_terminal_shows_last(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "log").write_bytes(content)
    assert last_line(tmp_path / "log") == line


def test_last_line_of_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert last_line(tmp_path / "log") == ""
