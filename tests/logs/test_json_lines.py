from __future__ import annotations

import json
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.chunking import MAX_LINE_BYTES
from orchestrator.logs.json_lines import JsonLines
from orchestrator.logs.stream import Stream

RANK3 = Stream("node1", 0, 3, 1, "stdout")
LAUNCHER = Stream("node1", 0, None, None, "stderr")


def objects(shown: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown.splitlines()]


def texts(*fed: bytes, max_line: int = MAX_LINE_BYTES) -> list[str]:
    lines = JsonLines(max_line=max_line)
    shown = b"".join(lines.feed(RANK3, chunk, 0.0) for chunk in fed) + lines.close()
    return [line["text"] for line in objects(shown)]


def test_line_is_one_object_with_ordered_keys() -> None:
    assert JsonLines().feed(RANK3, b"hello\n", 1.5) == (
        b'{"t": 1.5, "rank": 3, "local_rank": 1, "node": "node1", "stream": "stdout",'
        b' "text": "hello"}\n'
    )


def test_launcher_line_has_no_rank() -> None:
    [line] = objects(JsonLines().feed(LAUNCHER, b"hello\n", 1.5))
    assert line == {
        "t": 1.5,
        "rank": None,
        "local_rank": None,
        "node": "node1",
        "stream": "stderr",
        "text": "hello",
    }


def test_time_is_that_of_the_chunk_that_completes_the_line() -> None:
    lines = JsonLines()
    assert lines.feed(RANK3, b"a", 1.0) == b""
    assert lines.flush(60.0) == b""
    assert [line["t"] for line in objects(lines.feed(RANK3, b"b\nc\nd", 2.0))] == [2.0, 2.0]
    assert [line["t"] for line in objects(lines.close())] == [2.0]


def test_text_has_no_newline() -> None:
    assert texts(b"a\nb\r\n\r\nc") == ["a", "b", "", "c"]
    assert texts(b"\r 0%\r 50%\n") == ["\r 0%\r 50%"]


def test_byte_that_is_not_utf_8_is_escaped() -> None:
    assert texts(b"caf\xc3\xa9 \xff\n") == ["café \\xff"]


def test_output_is_printable_ascii() -> None:
    shown = JsonLines().feed(RANK3, "\x00\x1b[2J\x9b \u202e é\n".encode(), 0.0)
    assert shown.rstrip(b"\n").decode("ascii").isprintable()


def test_overlong_line_is_split() -> None:
    lines = JsonLines()
    shown = lines.feed(RANK3, b"x" * MAX_LINE_BYTES, 0.0)
    assert shown == b""
    shown += lines.feed(RANK3, b"x" * 3, 0.0) + lines.feed(RANK3, b"\nend\n", 0.0)
    found = [(len(line["text"]), line.get("partial")) for line in objects(shown)]
    assert found == [(MAX_LINE_BYTES, True), (3, None), (3, None)]


@given(
    st.lists(
        st.sampled_from([b"\n", b"\r\n", b"\r", "é█".encode(), b"abcdefg"]) | st.binary(max_size=6)
    )
)
def test_output_does_not_depend_on_chunks(fed: list[bytes]) -> None:
    assert texts(*fed, max_line=8) == texts(b"".join(fed), max_line=8)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)))
def test_joined_pieces_are_the_lines(output: list[str]) -> None:
    lines = JsonLines(max_line=8)
    found, text = [], ""
    for line in objects(lines.feed(RANK3, "".join(f"{o}\n" for o in output).encode(), 0.0)):
        text += line["text"]
        if not line.get("partial"):
            found.append(text)
            text = ""
    assert found == output


def test_50_mb_without_a_newline_take_little_memory() -> None:
    lines = JsonLines()
    chunk = b"x" * 256 * 1024
    tracemalloc.start()
    try:
        for _ in range(200):
            lines.feed(RANK3, chunk, 0.0)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * MAX_LINE_BYTES
    assert peak < 6 * MAX_LINE_BYTES
