from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.harmless import harmless
from orchestrator.logs.lines import MAX_LINE, TextLines
from orchestrator.logs.stream import Stream

Mode = Literal["terminal", "pipe"]

RANK0 = Stream("node0", 0, 0, 0, "stdout")
RANK1 = Stream("node1", 0, 1, 0, "stdout")
FRAGMENTS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\x1b[31m", "é█".encode(), b"abcdefg"])
OUTPUT = st.lists(FRAGMENTS | st.binary(max_size=6), max_size=30).map(b"".join)


def text_lines(mode: Mode, *, timestamps: bool = False, max_line: int = MAX_LINE) -> TextLines:
    return TextLines(
        lambda stream: b"r%d| " % (stream.rank or 0),
        mode,
        timestamps=timestamps,
        max_line=max_line,
    )


def shown_at_once(mode: Mode, output: bytes, *, max_line: int = MAX_LINE) -> bytes:
    lines = text_lines(mode, max_line=max_line)
    return lines.feed(RANK0, output) + lines.close()


@st.composite
def chunks(draw: st.DrawFn, output: st.SearchStrategy[bytes]) -> list[bytes]:
    """Some output, split into chunks (some of them empty)."""
    data = draw(output)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def interleaved(draw: st.DrawFn) -> list[tuple[Stream, bytes]]:
    """Chunks of two streams, in any order that keeps each stream's own."""
    left = {RANK0: draw(chunks(OUTPUT)), RANK1: draw(chunks(OUTPUT))}
    order = []
    while waiting := [stream for stream in left if left[stream]]:
        stream = draw(st.sampled_from(waiting))
        order.append((stream, left[stream].pop(0)))
    return order


class TestWholeLines:
    def test_each_line_has_the_prefix(self) -> None:
        assert text_lines("pipe").feed(RANK1, b"a\n\nb\n") == b"r1| a\nr1| \nr1| b\n"

    def test_a_partial_line_waits_for_its_newline(self) -> None:
        lines = text_lines("pipe")
        assert lines.feed(RANK0, b"a\nb") == b"r0| a\n"
        assert lines.feed(RANK1, b"c\n") == b"r1| c\n"
        assert lines.feed(RANK0, b"b\n") == b"r0| bb\n"

    def test_a_missing_final_newline_is_added(self) -> None:
        assert shown_at_once("pipe", b"a\nb") == b"r0| a\nr0| b\n"
        assert shown_at_once("pipe", b"") == b""

    def test_a_timestamp_is_that_of_the_chunk_that_completes_the_line(self) -> None:
        lines = text_lines("pipe", timestamps=True)
        lines.feed(RANK0, b"a", 1.0)
        assert lines.feed(RANK0, b"b\n", 2.5) == b"1970-01-01T00:00:02.500Z r0| ab\n"

    def test_a_terminal_gets_harmless_lines_and_a_pipe_the_bytes(self) -> None:
        assert shown_at_once("terminal", b"\x1b[2J\xff\n") == "r0| ^[[2J�\n".encode()
        assert shown_at_once("pipe", b"\x1b[2J\xff\n") == b"r0| \x1b[2J\xff\n"

    def test_a_character_in_two_chunks_stays_whole(self) -> None:
        lines = text_lines("terminal")
        shown = [lines.feed(RANK0, bytes([byte])) for byte in "█\n".encode()]
        assert b"".join(shown).decode() == "r0| █\n"


class TestAnySplit:
    """However the bytes of the streams arrive, the same is shown; here no line is over 8 bytes."""

    @given(interleaved(), st.sampled_from(["pipe", "terminal"]))
    def test_shows_what_the_whole_would(self, fed: list[tuple[Stream, bytes]], mode: Mode) -> None:
        lines = text_lines(mode, max_line=8)
        shown = b"".join(lines.feed(stream, chunk) for stream, chunk in fed) + lines.close()
        own = [line for line in shown.splitlines(keepends=True) if line.startswith(b"r0| ")]
        output = b"".join(chunk for stream, chunk in fed if stream is RANK0)
        assert b"".join(own) == shown_at_once(mode, output, max_line=8)

    @given(chunks(OUTPUT.map(lambda output: output.replace(b"\r", b""))))
    def test_a_pipe_gets_the_original_but_for_prefixes_and_cuts(self, fed: list[bytes]) -> None:
        lines = text_lines("pipe", max_line=8)
        shown = b"".join(lines.feed(RANK0, chunk) for chunk in fed) + lines.close()
        texts = [line.removeprefix(b"r0| ") for line in shown.split(b"\n")]
        assert all(len(text) <= 8 for text in texts)
        whole = b"".join(fed)
        for line in whole.removesuffix(b"\n").split(b"\n") if whole else ():
            text = texts.pop(0)
            while text != line:
                assert len(text) >= 8 - 3
                text += texts.pop(0)
        assert texts == [b""]

    @given(chunks(OUTPUT))
    def test_a_terminal_gets_harmless_lines(self, fed: list[bytes]) -> None:
        lines = text_lines("terminal", max_line=8)
        for now, chunk in enumerate(fed):
            for shown in (lines.feed(RANK0, chunk), lines.flush(now), lines.flush(now + 0.9)):
                assert harmless(shown) == shown
                assert shown.endswith(b"\n") or not shown


class TestOverlongLines:
    def test_a_line_of_64_kib_is_whole(self) -> None:
        line = b"x" * MAX_LINE
        assert shown_at_once("pipe", line + b"\r\n") == b"r0| " + line + b"\n"

    def test_a_longer_line_is_shown_in_pieces(self) -> None:
        line = b"x" * MAX_LINE
        assert text_lines("pipe").feed(RANK0, line + b"yz\n") == (b"r0| " + line + b"\nr0| yz\n")

    def test_a_character_is_not_divided(self) -> None:
        shown = shown_at_once("terminal", b"x" + "é".encode() * MAX_LINE)
        assert shown.decode().count("é") == MAX_LINE

    @pytest.mark.parametrize("unit", [b"x", b"\r", b"x\r", b"\x00", b"\xff", b"\x1b[1m"])
    def test_50_mb_without_a_newline_take_little_memory(self, unit: bytes) -> None:
        lines = text_lines("pipe")
        chunk = unit * (256 * 1024 // len(unit))
        tracemalloc.start()
        try:
            for _ in range(200):
                lines.feed(RANK0, chunk)
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 128 * 1024
        assert peak < 2 * 1024 * 1024


class TestCarriageReturns:
    @pytest.mark.parametrize(
        ("output", "shown"),
        [
            (b"a\r\n", b"a"),
            (b"a\r\r\n", b"a"),
            (b"\r\n", b""),
            (b"\r 0%\r 50%\r100%\n", b"100%"),
            (b"\r 0%\r 50%\r", b" 50%"),
            (b"\r 50%\r\n", b" 50%"),
        ],
    )
    def test_what_a_terminal_would_finally_show_is_shown(self, output: bytes, shown: bytes) -> None:
        assert shown_at_once("pipe", output) == b"r0| " + shown + b"\n"

    def test_progress_is_shown_at_most_once_a_second_in_its_latest_state(self) -> None:
        lines = text_lines("terminal")
        shown = []
        for tick in range(21):
            assert lines.feed(RANK0, b"\r%d%%" % (tick - 1)) == b""
            assert lines.feed(RANK0, b"\r%d%%" % tick) == b""
            shown.append(lines.flush(tick / 10))
        assert [text for text in shown if text] == [b"r0| 0%\n", b"r0| 10%\n", b"r0| 20%\n"]

    def test_progress_that_stands_still_is_shown_once(self) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"\r50%")
        assert lines.flush(0.0) == b"r0| 50%\n"
        assert not lines.waiting
        assert lines.flush(60.0) == b""

    @pytest.mark.parametrize(
        ("end", "shown"), [(b"\n", b""), (b"\r\n", b""), (b" done\n", b"r0| 50% done\n")]
    )
    def test_progress_is_not_repeated_at_its_end(self, end: bytes, shown: bytes) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"\r50%")
        lines.flush(0.0)
        assert lines.feed(RANK0, end) + lines.close() == shown

    def test_the_line_after_progress_is_an_ordinary_one(self) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"\r50%")
        lines.flush(0.0)
        assert lines.feed(RANK0, b"\r100%\ncontinue?") == b"r0| 100%\n"
        assert lines.flush(5.0) == b""
        assert lines.flush(5.5) == b"r0| continue?\n"

    def test_a_final_state_that_was_shown_is_not_repeated_at_the_close(self) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"\r50%\r")
        assert lines.flush(0.0) == b"r0| 50%\n"
        assert lines.close() == b""


class TestIdleLines:
    def test_a_prompt_is_shown_after_half_a_second_without_news(self) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"con")
        assert lines.flush(10.0) == b""
        lines.feed(RANK0, b"tinue?")
        assert lines.flush(10.4) == b""
        assert lines.waiting
        assert lines.flush(10.9) == b"r0| continue?\n"
        assert not lines.waiting
        assert lines.flush(99.0) == b""

    @pytest.mark.parametrize(
        ("rest", "shown"),
        [
            (b" yes\n", b"r0|  yes\n"),
            (b"\n", b""),
            (b"\r\n", b""),
            (b"\n\n", b"r0| \n"),
            (b"\nnext\n", b"r0| next\n"),
        ],
    )
    def test_what_comes_later_is_a_line_of_its_own(self, rest: bytes, shown: bytes) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"continue?")
        lines.flush(0.0)
        assert lines.flush(0.5) == b"r0| continue?\n"
        assert lines.feed(RANK0, rest) == shown

    def test_a_character_that_has_begun_waits_for_its_end(self) -> None:
        lines = text_lines("terminal")
        block = "█".encode()
        lines.feed(RANK0, b"a" + block[:2])
        lines.flush(0.0)
        assert lines.flush(0.5) == b"r0| a\n"
        assert lines.flush(9.0) == b""
        assert lines.feed(RANK0, block[2:] + b"\n").decode() == "r0| █\n"

    def test_a_pipe_gets_no_unfinished_line(self) -> None:
        lines = text_lines("pipe")
        lines.feed(RANK0, b"continue?")
        assert lines.flush(0.0) + lines.flush(9.0) == b""
        assert not lines.waiting
        assert lines.close() == b"r0| continue?\n"


def seconds(run: Callable[[], object]) -> float:
    """The best of several runs, in seconds of this thread's CPU."""
    # glibc learns from a large block that is freed to keep memory for the next one. Until then it
    # may return every chunk's to the kernel, and the page faults outweigh all that is measured.
    bytearray(16 * 1024 * 1024)
    times = []
    for _ in range(7):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return min(times)


CHUNK = (b"step 1200 loss 0.123456 " + b"x" * 47 + b"\n") * 3640  # 256 KiB of 72-byte lines


@pytest.mark.parametrize("mode", ["pipe", "terminal"])
def test_a_chunk_costs_much_less_than_its_lines_one_by_one(mode: Mode) -> None:
    lines = text_lines(mode)
    whole = CHUNK[5:] + CHUNK[:5]  # begins and ends within a line, as chunks do
    single = CHUNK.splitlines(keepends=True)

    def line_by_line() -> bytes:
        return b"".join([lines.feed(RANK1, line) for line in single])

    assert seconds(lambda: lines.feed(RANK0, whole)) * 5 < seconds(line_by_line)


@pytest.mark.parametrize(
    "chunk",
    [
        b"\r" * 262_144,
        b"\r\n" * 131_072,
        (b"x" * MAX_LINE + b"\n") * 3,
        (b"x" * MAX_LINE + b"\r") * 3,
        b"\x1b[1" * 65_536,
        b"\x1b[1m" * 65_536,
        b"\xff" * 262_144,
        bytes(range(256)) * 1024,
        "\u202e".encode() * 65_536,
    ],
    ids=lambda chunk: repr(chunk[:4]),
)
def test_no_output_makes_a_chunk_expensive(chunk: bytes) -> None:
    lines = text_lines("terminal")
    assert seconds(lambda: lines.feed(RANK0, chunk)) < 0.25
