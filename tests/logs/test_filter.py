from __future__ import annotations

import re
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.chunking import MAX_LINE_BYTES
from orchestrator.logs.filter import Grep, LastLines, painter, parse_pattern
from orchestrator.logs.json_lines import JsonLines
from orchestrator.logs.lines import TextLines
from orchestrator.logs.stream import Stream

RANK0 = Stream("node0", 0, 0, 0, "stdout")
RANK1 = Stream("node1", 0, 1, 0, "stdout")


class Raw:
    """Shows the bytes unchanged."""

    waiting = False

    def feed(self, stream: Stream, chunk: bytes, t: float) -> bytes:
        return chunk

    def flush(self, now: float) -> bytes:
        return b""

    def close(self) -> bytes:
        return b""


def kept(pattern: str, output: bytes, *, max_line: int = 1000) -> bytes:
    grep = Grep(parse_pattern(pattern), Raw(), max_line=max_line)
    return grep.feed(RANK0, output, 0.0) + grep.close()


class TestPattern:
    @pytest.mark.parametrize("text", ["[[:alpha:]]", "[a--b]", "[a||b]"])
    def test_ambiguous_pattern_is_refused_without_a_warning(
        self, text: str, recwarn: pytest.WarningsRecorder
    ) -> None:
        with pytest.raises(ValueError, match=r"is ambiguous: possible set .*|possible nested set"):
            parse_pattern(text)
        assert not recwarn.list

    @pytest.mark.parametrize("text", ["(", "[a", "*", "a{2,1}", "(?P<"])
    def test_invalid_pattern_is_refused_with_the_position(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"is not a regular expression: .* at character \d"):
            parse_pattern(text)

    def test_long_pattern_is_refused(self) -> None:
        with pytest.raises(ValueError, match="of 1001 characters is too long; the limit is 1000"):
            parse_pattern("x" * 1001)

    @pytest.mark.parametrize("text", ["(" * 500 + ")" * 500, "a{99999999999}"])
    def test_huge_pattern_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="regular expression"):
            parse_pattern(text)


class TestGrep:
    def test_matching_lines_keep_their_bytes(self) -> None:
        output = b"a\r\nERROR \xff b\r\nc\n\x1b[31mERR\x1b[0mOR d\nx\rERROR e\n"
        assert kept("ERROR [^a]", output) == (
            b"ERROR \xff b\r\n\x1b[31mERR\x1b[0mOR d\nx\rERROR e\n"
        )

    def test_overwritten_text_is_not_searched(self) -> None:
        assert kept("old", b"old\rnew\nold\r\n") == b"old\r\n"

    def test_anchors_match_the_ends_of_a_line(self) -> None:
        assert kept("^a$", b"a\nba\nab\na\r\na") == b"a\na\r\na"
        assert kept("^$", b"a\n\nb\n") == b"\n"

    def test_pattern_is_unicode(self) -> None:
        assert kept("(?i)^É.$", "éa\néab\n".encode()) == "éa\n".encode()

    def test_grep_feeds_other_lines(self) -> None:
        grep = Grep(parse_pattern("b"), TextLines(lambda stream: b"r| ", "terminal"))
        assert grep.feed(RANK0, b"a\nb1\nc\nb", 0.0) == b"r| b1\n"
        assert not grep.waiting
        assert grep.flush(9.0) == b""
        assert grep.feed(RANK1, b"b2\n", 0.0) == b"r| b2\n"
        assert grep.close() == b"r| b\n"

    def test_line_has_the_time_of_its_end(self) -> None:
        grep = Grep(parse_pattern("b"), JsonLines())
        grep.feed(RANK0, b"ab", 1.0)
        assert b'"t": 2.0' in grep.feed(RANK0, b"c\n", 2.0)
        grep.feed(RANK0, b"b", 3.0)
        assert b'"t": 3.0' in grep.close()

    @given(st.lists(st.text("ab\n\r ", max_size=8).map(str.encode), max_size=12))
    def test_result_does_not_depend_on_chunks(self, chunks: list[bytes]) -> None:
        grep = Grep(parse_pattern("a"), Raw(), max_line=5)
        shown = b"".join(grep.feed(RANK0, chunk, 0.0) for chunk in chunks) + grep.close()
        assert shown == kept("a", b"".join(chunks), max_line=5)

    @given(st.lists(st.text("ab ", max_size=4), max_size=12))
    def test_matching_lines_are_kept(self, lines: list[str]) -> None:
        expected = [line + "\n" for line in lines if re.search("a ?b", line)]
        output = "".join(line + "\n" for line in lines).encode()
        assert kept("a ?b", output) == "".join(expected).encode()

    def test_first_part_of_an_overlong_line_decides(self) -> None:
        long = b"x" * 25
        assert kept("a", b"a" + long + b"\n" + long + b"a\na\n", max_line=10) == (
            b"a" + long + b"\na\n"
        )

    def test_only_the_start_of_a_long_line_is_searched(self) -> None:
        assert kept("y", b"x" * 16_383 + b"y\n" + b"x" * 16_384 + b"y\n", max_line=50_000) == (
            b"x" * 16_383 + b"y\n"
        )

    def test_endless_line_takes_little_memory(self) -> None:
        grep = Grep(parse_pattern("y"), Raw())
        tracemalloc.start()
        try:
            for _ in range(200):
                grep.feed(RANK0, b"x" * 256 * 1024, 0.0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4 * MAX_LINE_BYTES

    def test_search_is_fast(self) -> None:
        grep = Grep(parse_pattern("loss=nan"), Raw())
        chunk = (b"step 1200 loss 0.123456 " + b"x" * 47 + b"\n") * 3640
        began = time.thread_time()
        for _ in range(20):
            assert grep.feed(RANK0, chunk, 0.0) == b""
        assert time.thread_time() - began < 0.5


class TestLastLines:
    def test_last_lines_come_at_release_and_later_ones_at_once(self) -> None:
        last = LastLines(3, TextLines(lambda stream: b"%d| " % (stream.rank or 0), "pipe"))
        assert last.feed(RANK0, b"a\nb\n", 0.0) == b""
        assert last.feed(RANK1, b"c\n", 0.0) == b""
        assert last.feed(RANK0, b"d\n", 0.0) == b""
        assert last.release() == b"0| b\n1| c\n0| d\n"
        assert last.feed(RANK0, b"e\n", 0.0) == b"0| e\n"
        assert last.close() == b""

    def test_last_matching_lines_come_at_close(self) -> None:
        grep = Grep(parse_pattern("[13579]"), LastLines(2, Raw()))
        assert grep.feed(RANK0, b"".join(b"%d\n" % n for n in range(8)) + b"9", 0.0) == b""
        assert grep.close() == b"7\n9"

    def test_long_line_counts_as_one(self) -> None:
        grep = Grep(parse_pattern("x"), LastLines(2, Raw()))
        long = b"x" * 300_000 + b"\n"
        for start in range(0, len(long), 100_000):
            grep.feed(RANK0, (b"x\n" if start == 0 else b"") + long[start : start + 100_000], 0.0)
        assert grep.feed(RANK0, b"x\n", 0.0) == b""
        assert grep.close() == long + b"x\n"


class TestPaint:
    @pytest.mark.parametrize(
        ("line", "painted"),
        [
            ("an error", "an <error>"),
            ("error error\nnone\nerror", "<error> <error>\nnone\n<error>"),
            ("\x1b[31mred error\x1b[0m", "\x1b[31mred <error>\x1b[0m"),
            ("\x1b[31merror\x1b[0m", "\x1b[31m<error>\x1b[0m"),
            ("er\x1b[31mr\x1b[0mor!", "<er\x1b[31m\x1b[7mr\x1b[0m\x1b[7mor>!"),
            ("fine", "fine"),
        ],
    )
    def test_matches_are_reversed_and_colours_kept(self, line: str, painted: str) -> None:
        expected = painted.replace("<", "\x1b[7m").replace(">", "\x1b[27m")
        assert painter(parse_pattern("error"))(line.encode()) == expected.encode()

    @given(
        st.lists(st.sampled_from([b"a", b"b", b"\xff", b"\n", b"\x1b[1m", b"\x1b[0m", b"\xc3\xa9"]))
    )
    def test_nothing_but_reverse_video_is_added(self, parts: list[bytes]) -> None:
        lines = b"".join(parts)
        painted = painter(parse_pattern("ab*"))(lines)
        assert painted.replace(b"\x1b[7m", b"").replace(b"\x1b[27m", b"") == lines
        for line in painted.split(b"\n"):
            assert line.rfind(b"\x1b[7m") <= line.rfind(b"\x1b[27m")

    def test_empty_match_adds_nothing(self) -> None:
        assert painter(parse_pattern("x*"))(b"abc") == b"abc"

    def test_prefix_is_not_painted(self) -> None:
        lines = TextLines(lambda stream: b"r0| ", "terminal", paint=painter(parse_pattern("r|a$")))
        assert lines.feed(RANK0, b"ra\na\n\r50r") == (
            b"r0| \x1b[7mr\x1b[27m\x1b[7ma\x1b[27m\nr0| \x1b[7ma\x1b[27m\n"
        )
        assert lines.flush(0.0) == b"r0| 50\x1b[7mr\x1b[27m\n"
