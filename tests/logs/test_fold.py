from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.fold import FoldedLines
from orchestrator.logs.lines import TextLines
from orchestrator.logs.merge import MAX_LINES
from orchestrator.logs.prefix import Widths, folded_prefix, prefix
from orchestrator.logs.stream import Channel, Stream

TRACEBACK = b"""\
[rank%(rank)d]: Traceback (most recent call last):
[rank%(rank)d]:   File "train.py", line 3, in <module>
[rank%(rank)d]:     main()
[rank%(rank)d]:     ^^^^^^
[rank%(rank)d]:   File "train.py", line 2, in main
[rank%(rank)d]:     step()
[rank%(rank)d]:     ^^^^^^
[rank%(rank)d]: ValueError: bad
"""
FOLDED_TRACEBACK = (TRACEBACK % {b"rank": 0}).replace(b"[rank0]", b"[rank*]").splitlines()


def stream(rank: int | None, channel: Channel = "stderr", node: str = "n") -> Stream:
    return Stream(node, 0, rank, None if rank is None else rank % 8, channel)


def folded_lines(
    ranks: int = 4,
    mode: Literal["terminal", "pipe"] = "pipe",
    *,
    timestamps: bool = False,
    max_line: int = 1000,
) -> FoldedLines:
    def folded(streams: Sequence[Stream]) -> bytes:
        return b"+".join(b"%d" % (s.rank or 0) for s in streams) + b"| "

    return FoldedLines(
        lambda stream: b"%d| " % (stream.rank or 0),
        folded,
        mode,
        ranks=ranks,
        launchers=2,
        timestamps=timestamps,
        max_line=max_line,
    )


def unfolded(shown: bytes, rank: int) -> list[bytes]:
    """The lines of a rank according to `shown`, in order."""
    own = []
    for line in shown.splitlines():
        who, text = line.split(b"| ", 1)
        if b"%d" % rank in who.split(b"+"):
            own.append(text.replace(b"[rank*]", b"[rank%d]" % rank))
    return own


@st.composite
def interleaved(
    draw: st.DrawFn, outputs: st.SearchStrategy[list[bytes]], longest: int = 40
) -> tuple[list[bytes], list[tuple[int, bytes, float]]]:
    """What each rank prints, and its chunks as (rank, chunk, time), interleaved."""
    printed = draw(outputs)
    left = [list(output) for output in printed]
    chunks, t = [], 0.0
    while waiting := [rank for rank in range(len(left)) if left[rank]]:
        rank = draw(st.sampled_from(waiting))
        size = longest - draw(st.integers(0, longest - 1))
        chunk, left[rank] = bytes(left[rank][:size]), left[rank][size:]
        t += draw(st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5]))
        chunks.append((rank, chunk, t))
    return printed, chunks


LINE = st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n", b"\n", b"p\rq\n"])
TAGGED = st.sampled_from([b"[rank%d]: a\n", b"[rank%d]: b\n"])


@st.composite
def outputs(draw: st.DrawFn) -> list[bytes]:
    printed = []
    for rank in range(draw(st.integers(1, 4))):
        lines = draw(st.lists(LINE | TAGGED.map(lambda line, rank=rank: line % rank), max_size=12))  # type: ignore[misc]
        printed.append(b"".join(lines))
    return printed


class TestAnyInterleaving:
    @given(interleaved(outputs()), st.lists(st.integers(0, 20), max_size=4))
    def test_each_rank_keeps_its_lines_in_their_order(
        self,
        printed_and_chunks: tuple[list[bytes], list[tuple[int, bytes, float]]],
        flushes: list[int],
    ) -> None:
        printed, chunks = printed_and_chunks
        lines, shown = folded_lines(len(printed)), b""
        for number, (rank, chunk, t) in enumerate(chunks):
            shown += lines.feed(stream(rank), chunk, t)
            shown += b"".join(lines.flush(number * 0.15) for _ in range(flushes.count(number)))
        shown += lines.close()
        for rank, output in enumerate(printed):
            assert unfolded(shown, rank) == output.replace(b"p\r", b"").splitlines()

    @given(
        interleaved(st.just([TRACEBACK % {b"rank": rank} for rank in range(5)]), longest=300),
        st.booleans(),
    )
    def test_identical_tracebacks_are_folded_to_one(
        self,
        printed_and_chunks: tuple[list[bytes], list[tuple[int, bytes, float]]],
        extra_rank: bool,
    ) -> None:
        lines, shown = folded_lines(5 + extra_rank), b""
        for rank, chunk, _ in printed_and_chunks[1]:
            shown += lines.feed(stream(rank), chunk, 7.0)
        shown += lines.close()
        assert [line.split(b"| ", 1)[1] for line in shown.splitlines()] == FOLDED_TRACEBACK
        assert all(
            sorted(line.split(b"|")[0]) == sorted(b"0+1+2+3+4") for line in shown.splitlines()
        )

    @given(
        interleaved(
            st.just(
                [
                    b"[rank%d]: start\n[rank%d]: it is %d here\n[rank%d]: end\n" % ((rank,) * 4)
                    for rank in range(5)
                ]
            )
        )
    )
    def test_lines_after_one_that_differs_are_folded(
        self, printed_and_chunks: tuple[list[bytes], list[tuple[int, bytes, float]]]
    ) -> None:
        lines, shown = folded_lines(5), b""
        for rank, chunk, _ in printed_and_chunks[1]:
            shown += lines.feed(stream(rank), chunk, 7.0)
        texts = [line.split(b"| ", 1)[1] for line in (shown + lines.close()).splitlines()]
        assert texts[0] == b"[rank*]: start"
        assert texts[-1] == b"[rank*]: end"
        assert sorted(texts[1:-1]) == [
            b"[rank%d]: it is %d here" % (rank, rank) for rank in range(5)
        ]


class TestFolding:
    def test_line_of_one_rank_is_separate(self) -> None:
        lines = folded_lines(4)
        shown = b"".join(lines.feed(stream(rank), b"killed\n") for rank in range(3))
        shown += lines.feed(stream(3), b"out of memory\n") + lines.close()
        assert shown == b"0+1+2| killed\n3| out of memory\n"

    def test_line_of_one_rank_keeps_its_tag(self) -> None:
        lines = folded_lines(4)
        assert lines.feed(stream(2), b"[rank2]: a\n") + lines.close() == b"2| [rank2]: a\n"

    def test_line_is_shown_once_all_ranks_have_it(self) -> None:
        lines = folded_lines(2)
        assert lines.feed(stream(0), b"a\n", 1.0) == b""
        assert lines.feed(stream(1), b"a\n", 1.0) == b"0+1| a\n"
        assert not lines.waiting

    def test_line_that_arrives_late_is_separate(self) -> None:
        lines = folded_lines(3)
        assert lines.feed(stream(0), b"a\n", 1.0) == b""
        assert lines.feed(stream(1), b"a\n", 1.25) == b""
        assert lines.feed(stream(2), b"a\n", 1.6) == b"0+1| a\n"
        assert lines.close() == b"2| a\n"

    def test_line_waits_while_ranks_keep_joining_it(self) -> None:
        lines = folded_lines(64)
        shown = [lines.feed(stream(rank), b"a\n", 1.0 + 0.03 * rank) for rank in range(64)]
        assert shown[:63] == [b""] * 63
        assert shown[63].count(b"\n") == 1

    def test_line_waits_at_most_two_seconds(self) -> None:
        lines = folded_lines(64)
        shown = [lines.feed(stream(rank), b"a\n", 1.0 + 0.25 * rank) for rank in range(10)]
        assert shown[:9] == [b""] * 9
        assert shown[9] == b"0+1+2+3+4+5+6+7+8| a\n"

    def test_line_repeated_by_one_rank_is_not_folded(self) -> None:
        lines = folded_lines(3)
        lines.feed(stream(0), b"a\na\n")
        lines.feed(stream(1), b"a\n")
        assert lines.close() == b"0+1| a\n0| a\n"

    def test_tag_of_another_rank_is_text(self) -> None:
        lines = folded_lines(2)
        lines.feed(stream(0), b"[rank0]: a\n")
        lines.feed(stream(1), b"[rank0]: a\n")
        assert lines.close() == b"0| [rank0]: a\n1| [rank0]: a\n"

    def test_launchers_are_folded_among_themselves(self) -> None:
        lines = folded_lines(1)
        assert lines.feed(stream(0), b"a\n") == b"0| a\n"
        assert lines.feed(stream(None, node="m"), b"a\n") == b""
        assert lines.feed(stream(None), b"a\n") == b"0+0| a\n"

    def test_timestamp_is_that_of_the_first_rank(self) -> None:
        lines = folded_lines(2, timestamps=True)
        lines.feed(stream(0), b"a\n", 1.0)
        assert lines.feed(stream(1), b"a\nb\n", 1.125) == b"1970-01-01T00:00:01.000Z 0+1| a\n"
        assert lines.close() == b"1970-01-01T00:00:01.125Z 1| b\n"

    def test_shown_lines_are_painted(self) -> None:
        lines = FoldedLines(
            lambda stream: b"%d| " % (stream.rank or 0),
            lambda streams: b"*| ",
            "terminal",
            ranks=2,
            launchers=1,
            paint=lambda line: line.replace(b"rank", b"RANK"),
        )
        lines.feed(stream(0), b"[rank0]: a\n")
        assert lines.feed(stream(1), b"[rank1]: a\n") == b"*| [RANK*]: a\n"

    def test_other_channels_are_not_folded(self) -> None:
        lines = folded_lines(2)
        assert lines.feed(stream(0, "stdout"), b"a\n") == b"0| a\n"
        assert lines.feed(stream(1, "stdout"), b"a\n") == b"1| a\n"


class TestWaiting:
    def test_second_flush_shows_a_held_line(self) -> None:
        lines = folded_lines(2)
        lines.feed(stream(0), b"a\n")
        assert lines.waiting
        assert lines.flush(100.0) == b""
        assert lines.flush(100.25) == b"0| a\n"
        assert not lines.waiting

    def test_flush_holds_a_line_while_others_join_it(self) -> None:
        lines = folded_lines(64)
        shown = b""
        for rank in range(64):
            shown += lines.feed(stream(rank), b"a\n") + lines.flush(100.0 + 0.1 * rank)
            if rank < 20:
                assert shown == b""
        shown += lines.flush(106.6) + lines.flush(106.9)
        assert 2 <= shown.count(b"\n") <= 4

    def test_number_of_waiting_lines_is_limited(self) -> None:
        lines = folded_lines(2)
        shown = b"".join(lines.feed(stream(0), b"%d\n" % n) for n in range(MAX_LINES + 5))
        assert shown == b"".join(b"0| %d\n" % n for n in range(5))

    def test_bytes_of_waiting_lines_are_limited(self) -> None:
        lines = folded_lines(2, max_line=1 << 20)
        assert lines.feed(stream(0), b"x" * 700_000 + b"\n") == b""
        assert len(lines.feed(stream(1), b"y" * 700_000 + b"\n")) == 700_004

    def test_flood_is_not_held_back(self) -> None:
        lines = folded_lines(2)
        lines.feed(stream(1), b"before\n")
        flood = b"".join(b"%d\n" % n for n in range(1000))
        shown = lines.feed(stream(0), flood + b"re")
        assert shown == b"1| before\n" + b"".join(b"0| %d\n" % n for n in range(1000))
        assert lines.feed(stream(0), b"st\n") + lines.close() == b"0| rest\n"

    def test_progress_is_not_folded(self) -> None:
        folded, plain = (
            folded_lines(8, "terminal"),
            TextLines(lambda stream: b"%d| " % (stream.rank or 0), "terminal"),
        )
        for tick in range(30):
            for rank in range(8):
                chunk = b"\r%3d%%|####| %d/30 rank %d" % (tick * 3, tick, rank)
                assert folded.feed(stream(rank), chunk, tick / 10) == b""
                plain.feed(stream(rank), chunk, tick / 10)
            assert folded.flush(tick / 10) == plain.flush(tick / 10)

    def test_progress_follows_earlier_lines_of_the_rank(self) -> None:
        lines = folded_lines(2, "terminal")
        lines.feed(stream(0), b"start\n\r 0%")
        shown = lines.flush(0.0) + lines.flush(0.25) + lines.flush(0.5)
        assert shown == b"0| start\n0|  0%\n"


HOSTNAME = b"socket.cpp:207] [c10d] The hostname of the client socket cannot be retrieved. err=-3"


@pytest.mark.parametrize(
    ("own", "folded"),
    [
        (b"[W1121 16:37:5%d.39453%d640 " + HOSTNAME, b"[W1121 * " + HOSTNAME),
        (b"[rank%d]:[W1121 16:37:50.39453%d640 " + HOSTNAME, b"[rank*]:[W1121 * " + HOSTNAME),
        (
            b"W1130 05:01:0%d.125000 14%d230 torch/distributed/run.py:766] OMP_NUM_THREADS is 1",
            b"W1130 * torch/distributed/run.py:766] OMP_NUM_THREADS is 1",
        ),
    ],
)
def test_glog_lines_fold_despite_times_and_threads(own: bytes, folded: bytes) -> None:
    lines = folded_lines(4)
    shown = b"".join(lines.feed(stream(rank), own % (rank, rank) + b"\n") for rank in range(4))
    assert shown + lines.close() == b"0+1+2+3| " + folded + b"\n"


def test_glog_line_of_one_rank_is_unchanged() -> None:
    lines = folded_lines(4)
    line = b"[W1121 16:37:50.394531640 " + HOSTNAME + b"\n"
    assert lines.feed(stream(2), line) + lines.close() == b"2| " + line


def test_glog_lines_of_different_origin_do_not_fold() -> None:
    lines = folded_lines(2)
    for rank in range(2):
        lines.feed(stream(rank), b"[W1121 16:37:50.3945 socket.cpp:20%d] same\n" % rank)
    assert lines.close().count(b"\n") == 2


def test_folded_prefix_names_ranks_and_nodes() -> None:
    widths = Widths.of(["node1", "node2"], 64)

    def who(*ranks: tuple[int | None, str]) -> str:
        streams = [stream(rank, node=node) for rank, node in ranks]
        return folded_prefix(streams, widths).decode()

    assert who((0, "node1"), (1, "node1")) == "r[0-1] ×2 node1 │ "
    assert who(*((rank, f"node{rank % 2}") for rank in (5, 1, 2, 3))) == "r[1-3,5] ×4 2 nodes │ "
    assert who((None, "node1"), (None, "node2")) == "-- ×2 2 nodes │ "
    assert who(*((rank, "node1") for rank in range(0, 20, 2))) == "r[0,2,4,6,…] ×10 node1 │ "
    assert len(who((0, "a"), (1, "a"))) >= len(prefix(stream(0, node="a"), widths).decode())
    coloured = folded_prefix([stream(0), stream(1)], widths, b"1").decode()
    assert coloured == "\x1b[1mr[0-1] ×2 n\x1b[0m \x1b[31m│\x1b[0m "


@pytest.mark.parametrize("differing", [True, False])
def test_folding_is_fast(differing: bool) -> None:
    lines = folded_lines(8)
    texts = [b"x" * 90 + b"%d\n" % (n if differing else 0) for n in range(100_000)]
    chunks = [b"".join(texts[start : start + 100]) for start in range(0, len(texts), 100)]
    began = time.thread_time()
    for number, chunk in enumerate(chunks):
        lines.feed(stream(number % 8), chunk, number * 0.001)
    lines.close()
    assert time.thread_time() - began < 1.0  # 0.2 s here


def test_only_whole_lines_are_shown() -> None:
    lines = folded_lines(2)
    shown = lines.feed(stream(0), b"a\nb") + lines.feed(stream(1), b"a\r\nb") + lines.close()
    assert re.fullmatch(rb"0\+1\| a\n0\+1\| b\n", shown)
