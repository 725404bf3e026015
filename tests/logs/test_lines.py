from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.chunking import MAX_LINE_BYTES
from orchestrator.logs.lines import MARK, MAX_TERMINAL_LINE, TextLines
from orchestrator.logs.sanitize import sanitize
from orchestrator.logs.stream import Stream

Mode = Literal["terminal", "pipe"]

RANK0 = Stream("node0", 0, 0, 0, "stdout")
RANK1 = Stream("node1", 0, 1, 0, "stdout")
FRAGMENTS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\x1b[31m", "é█".encode(), b"abcdefg"])
OUTPUT = st.lists(FRAGMENTS | st.binary(max_size=6), max_size=30).map(b"".join)


def text_lines(mode: Mode, *, timestamps: bool = False, max_line: int | None = None) -> TextLines:
    return TextLines(
        lambda stream: b"r%d| " % (stream.rank or 0),
        mode,
        timestamps=timestamps,
        max_line=max_line,
    )


def shown_at_once(mode: Mode, output: bytes, *, max_line: int | None = None) -> bytes:
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
    """Chunks of two streams, interleaved in any way."""
    left = {RANK0: draw(chunks(OUTPUT)), RANK1: draw(chunks(OUTPUT))}
    order = []
    while waiting := [stream for stream in left if left[stream]]:
        stream = draw(st.sampled_from(waiting))
        order.append((stream, left[stream].pop(0)))
    return order


class TestWholeLines:
    def test_each_line_has_the_prefix(self) -> None:
        assert text_lines("pipe").feed(RANK1, b"a\n\nb\n") == b"r1| a\nr1| \nr1| b\n"

    def test_partial_line_waits_for_its_newline(self) -> None:
        lines = text_lines("pipe")
        assert lines.feed(RANK0, b"a\nb") == b"r0| a\n"
        assert lines.feed(RANK1, b"c\n") == b"r1| c\n"
        assert lines.feed(RANK0, b"b\n") == b"r0| bb\n"

    def test_missing_final_newline_is_added(self) -> None:
        assert shown_at_once("pipe", b"a\nb") == b"r0| a\nr0| b\n"
        assert shown_at_once("pipe", b"") == b""

    def test_timestamp_is_that_of_the_chunk_that_completes_the_line(self) -> None:
        lines = text_lines("pipe", timestamps=True)
        lines.feed(RANK0, b"a", 1.0)
        assert lines.feed(RANK0, b"b\n", 2.5) == b"1970-01-01T00:00:02.500Z r0| ab\n"

    @pytest.mark.parametrize("mode", ["pipe", "terminal"])
    def test_lines_are_sanitized_in_both_modes(self, mode: Mode) -> None:
        assert shown_at_once(mode, b"\x1b[2J\xff\n") == "r0| ^[[2J�\n".encode()
        assert shown_at_once(mode, b"\x1b[31mred\n") == b"r0| \x1b[31mred\x1b[0m\n"

    def test_character_in_two_chunks_stays_whole(self) -> None:
        lines = text_lines("terminal")
        shown = [lines.feed(RANK0, bytes([byte])) for byte in "█\n".encode()]
        assert b"".join(shown).decode() == "r0| █\n"


class TestAnySplit:
    """Properties that do not depend on chunks; no line is over 8 bytes."""

    @given(interleaved(), st.sampled_from(["pipe", "terminal"]))
    def test_output_does_not_depend_on_chunks(
        self, fed: list[tuple[Stream, bytes]], mode: Mode
    ) -> None:
        lines = text_lines(mode, max_line=8)
        shown = b"".join(lines.feed(stream, chunk) for stream, chunk in fed) + lines.close()
        own = [line for line in shown.splitlines(keepends=True) if line.startswith(b"r0| ")]
        output = b"".join(chunk for stream, chunk in fed if stream is RANK0)
        assert b"".join(own) == shown_at_once(mode, output, max_line=8)

    @given(chunks(OUTPUT.map(lambda output: sanitize(re.sub(rb"[\r\x1b]", b"", output)))))
    def test_pipe_gets_the_original_with_prefixes_and_cuts(self, fed: list[bytes]) -> None:
        lines = text_lines("pipe", max_line=8)
        shown = b"".join(lines.feed(RANK0, chunk) for chunk in fed) + lines.close()
        texts = [line.removeprefix(b"r0| ") for line in shown.split(b"\n")]
        assert all(len(text) <= 8 + 2 * len(MARK) for text in texts)
        whole = b"".join(fed)
        for line in whole.removesuffix(b"\n").split(b"\n") if whole else ():
            text = texts.pop(0)
            while text != line:
                assert text.endswith(MARK)
                assert len(text) >= 8 - 3 + len(MARK)
                assert texts[0].startswith(MARK)
                text = text.removesuffix(MARK) + texts.pop(0).removeprefix(MARK)
        assert texts == [b""]

    @given(chunks(OUTPUT), st.sampled_from(["pipe", "terminal"]))
    def test_output_is_sanitized(self, fed: list[bytes], mode: Mode) -> None:
        lines = text_lines(mode, max_line=8)
        for now, chunk in enumerate(fed):
            for shown in (lines.feed(RANK0, chunk), lines.flush(now), lines.flush(now + 0.9)):
                assert sanitize(shown) == shown
                assert shown.endswith(b"\n") or not shown


class TestOverlongLines:
    @pytest.mark.parametrize("length", [MAX_TERMINAL_LINE + 1, 300_000, MAX_LINE_BYTES])
    def test_long_line_in_a_pipe_is_one_line(self, length: int) -> None:
        line = b"x" * length
        lines = text_lines("pipe")
        for start in range(0, length, 100_000):
            assert lines.feed(RANK0, line[start : start + 100_000]) == b""
            assert lines.feed(RANK1, b"between\n") == b"r1| between\n"
        assert lines.feed(RANK0, b"\r\n") == b"r0| " + line + b"\n"

    def test_line_of_64_kib_is_whole_on_a_terminal(self) -> None:
        line = b"x" * MAX_TERMINAL_LINE
        assert shown_at_once("terminal", line + b"\r\n") == b"r0| " + line + b"\n"

    @pytest.mark.parametrize(
        ("mode", "most"), [("terminal", MAX_TERMINAL_LINE), ("pipe", MAX_LINE_BYTES)]
    )
    def test_longer_line_is_marked_where_it_is_cut(self, mode: Mode, most: int) -> None:
        line = b"x" * most
        shown = text_lines(mode).feed(RANK0, line + line + b"yz\nnext\n")
        assert shown == b"".join(
            b"r0| " + text + b"\n"
            for text in (line + MARK, MARK + line + MARK, MARK + b"yz", b"next")
        )

    def test_line_in_tiny_chunks_takes_linear_time(self) -> None:
        lines = text_lines("pipe")

        def trickle(count: int) -> float:
            start = time.thread_time()
            for _ in range(count):
                lines.feed(RANK0, b"x" * 16)
            return time.thread_time() - start

        first = trickle(20_000)
        trickle(200_000)
        assert trickle(20_000) < 5 * first + 0.1

    def test_character_is_not_divided(self) -> None:
        shown = shown_at_once("terminal", b"x" + "é".encode() * MAX_TERMINAL_LINE)
        assert shown.decode().count("é") == MAX_TERMINAL_LINE

    @pytest.mark.parametrize("unit", [b"x", b"\r", b"x\r", b"\x00", b"\xff", b"\x1b[1m"])
    def test_50_mb_without_a_newline_take_little_memory(self, unit: bytes) -> None:
        lines = text_lines("terminal")
        chunk = unit * (256 * 1024 // len(unit))
        tracemalloc.start()
        try:
            for _ in range(200):
                lines.feed(RANK0, chunk)
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 128 * 1024
        assert peak < 4 * 1024 * 1024  # one byte may be shown as three


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
    def test_final_state_of_a_line_is_shown(self, output: bytes, shown: bytes) -> None:
        assert shown_at_once("pipe", output) == b"r0| " + shown + b"\n"

    def test_latest_progress_is_shown_at_most_once_a_second(self) -> None:
        lines = text_lines("terminal")
        shown = []
        for tick in range(21):
            assert lines.feed(RANK0, b"\r%d%%" % (tick - 1)) == b""
            assert lines.feed(RANK0, b"\r%d%%" % tick) == b""
            shown.append(lines.flush(tick / 10))
        assert [text for text in shown if text] == [b"r0| 0%\n", b"r0| 10%\n", b"r0| 20%\n"]

    def test_unchanged_progress_is_shown_once(self) -> None:
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

    def test_line_after_progress_is_not_progress(self) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"\r50%")
        lines.flush(0.0)
        assert lines.feed(RANK0, b"\r100%\ncontinue?") == b"r0| 100%\n"
        assert lines.flush(5.0) == b""
        assert lines.flush(5.5) == b"r0| continue?\n"

    def test_final_state_is_not_repeated_at_close(self) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"\r50%\r")
        assert lines.flush(0.0) == b"r0| 50%\n"
        assert lines.close() == b""


class TestIdleLines:
    def test_prompt_is_shown_after_half_a_second(self) -> None:
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
            (b" yes\n", b"r0| " + MARK + b" yes\n"),
            (b"\n", b""),
            (b"\r\n", b""),
            (b"\n\n", b"r0| \n"),
            (b"\nnext\n", b"r0| next\n"),
        ],
    )
    def test_rest_of_a_shown_line_is_a_new_line(self, rest: bytes, shown: bytes) -> None:
        lines = text_lines("terminal")
        lines.feed(RANK0, b"continue?")
        lines.flush(0.0)
        assert lines.flush(0.5) == b"r0| continue?\n"
        assert lines.feed(RANK0, rest) == shown

    def test_incomplete_character_is_not_shown(self) -> None:
        lines = text_lines("terminal")
        block = "█".encode()
        lines.feed(RANK0, b"a" + block[:2])
        lines.flush(0.0)
        assert lines.flush(0.5) == b"r0| a\n"
        assert lines.flush(9.0) == b""
        assert lines.feed(RANK0, block[2:] + b"\n").decode() == "r0| …█\n"


class TestUnfinishedLinesInAPipe:
    def test_prompt_is_shown_after_a_second_and_again_when_complete(self) -> None:
        lines = text_lines("pipe")
        lines.feed(RANK0, b"continue?")
        assert lines.waiting
        assert lines.flush(10.0) + lines.flush(10.9) == b""
        assert lines.flush(11.0) == b"r0| continue?" + MARK + b"\n"
        assert not lines.waiting
        assert lines.flush(99.0) == b""
        assert lines.feed(RANK0, b" yes\n") == b"r0| continue? yes\n"

    def test_incomplete_character_does_not_repeat_the_line(self) -> None:
        lines = text_lines("pipe")
        lines.feed(RANK0, b"\r50% " + "█".encode()[:2])
        lines.flush(0.0)
        assert lines.flush(1.0) == b"r0| 50% \n"
        assert lines.flush(99.0) == b""

    def test_line_finished_within_a_second_is_shown_once(self) -> None:
        lines = text_lines("pipe")
        lines.feed(RANK0, b"half ")
        assert lines.flush(1.0) + lines.flush(1.5) == b""
        assert lines.feed(RANK0, b"whole\n") == b"r0| half whole\n"
        assert lines.flush(9.0) == b""

    def test_growing_line_is_shown_repeatedly(self) -> None:
        lines = text_lines("pipe")
        seen = []
        for tick in range(21):
            lines.feed(RANK0, b".")
            seen.append(lines.flush(tick / 10))
        assert [text for text in seen if text] == [
            b"r0| " + b"." * dots + MARK + b"\n" for dots in (11, 21)
        ]

    def test_progress_is_shown_soon_and_does_not_flood(self) -> None:
        lines = text_lines("pipe")
        times = []
        for tick in range(4 * 3600 * 10):  # ten hours
            lines.feed(RANK0, b"\r%d" % tick)
            if shown := lines.flush(tick / 4):
                assert shown == b"r0| %d\n" % tick
                times.append(tick / 4)
        assert times[0] <= 2.0
        assert len(times) < 700
        assert all(b - a <= max(1.25, 0.12 * b) for a, b in pairwise(times))

    def test_progress_is_not_repeated_when_it_ends(self) -> None:
        lines = text_lines("pipe")
        lines.feed(RANK0, b"\r100%")
        lines.flush(0.0)
        assert lines.flush(1.0) == b"r0| 100%\n"
        assert lines.feed(RANK0, b"\nnext\n") == b"r0| next\n"

    def test_end_of_a_very_long_line_is_shown(self) -> None:
        lines = text_lines("pipe")
        line = b"x" * 200_000 + "é".encode() * 3000
        lines.feed(RANK0, line)
        lines.flush(0.0)
        shown = lines.flush(1.0)
        assert shown.decode() == "r0| …" + "é" * 2048 + "…\n"
        assert lines.feed(RANK0, b"\n") == b"r0| " + line + b"\n"


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
def test_chunk_is_much_faster_than_its_lines(mode: Mode) -> None:
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
        (b"x" * MAX_TERMINAL_LINE + b"\n") * 3,
        (b"x" * MAX_TERMINAL_LINE + b"\r") * 3,
        b"\x1b[1" * 65_536,
        b"\x1b[1m" * 65_536,
        b"\xff" * 262_144,
        bytes(range(256)) * 1024,
        "\u202e".encode() * 65_536,
    ],
    ids=lambda chunk: repr(chunk[:4]),
)
def test_hostile_chunk_is_fast(chunk: bytes) -> None:
    lines = text_lines("terminal")
    assert seconds(lambda: lines.feed(RANK0, chunk)) < 0.25
