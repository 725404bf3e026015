"""Scanning of streams: any chunks, bounded memory, speed."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnose import Certainty, Diagnosis, Source, diagnose, scan
from orchestrator.diagnose.findings import MAX_TEXT
from orchestrator.diagnose.scan import BLOCK, blocks

LOG = b"""\
step 1 loss 2.31
step 2 loss 2.30
[rank0]: Traceback (most recent call last):
[rank1]: Traceback (most recent call last):
[rank0]:   File "/home/user/job/train.py", line 40, in step
[rank1]:   File "/home/user/job/train.py", line 52, in load
[rank0]:     dist.all_reduce(x)
[rank1]:     raise KeyError("labels")
[rank0]: RuntimeError: [pair.cc:553] Connection closed by peer [10.0.0.17]:4711
[rank1]: KeyError: 'labels'
[rank1]: noise
[rank2]: RuntimeError: [pair.cc:553] Connection closed by peer [10.0.0.17]:4712
"""


def read(*chunks: bytes) -> Diagnosis:
    return diagnose([(Source("log"), chunks)])


def test_scan_separates_interleaved_tracebacks() -> None:
    root, cascade = read(LOG).hits
    assert root.error is not None and cascade.error is not None
    assert (root.ranks, root.error.summary, root.error.line) == ((1,), "KeyError: 'labels'", 52)
    assert (cascade.ranks, cascade.error.function) == ((0, 2), "step")


def test_scan_numbers_lines_from_one() -> None:
    root, cascade = read(LOG).hits
    assert (root.first.place.line, cascade.first.place.line) == (10, 9)


@given(st.lists(st.integers(0, len(LOG)), max_size=20))
def test_scan_does_not_depend_on_chunks(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(LOG)]
    chunks = [LOG[start:end] for start, end in itertools.pairwise(edges)]
    assert read(*chunks) == read(LOG)


def test_scan_numbers_lines_far_into_a_long_log() -> None:
    many = 3 * BLOCK // 10
    chunks = [b"x" * 9 + b"\n"] * many + [b"No space left on device\n"] + [b"x\n"] * 10
    (hit,) = read(*chunks).hits
    assert hit.first.place.line == many + 1


def test_scan_takes_times_from_the_clock_of_the_source() -> None:
    log = b"ok\nNo space left on device\n"
    (hit,) = diagnose([(Source("log", clock=float), [log])]).hits
    assert hit.first.place.time == 3.0


def test_scan_reads_an_endless_line_in_pieces() -> None:
    (hit,) = read(*[b"x" * BLOCK] * 8, b" No space left on device").hits
    assert len(hit.first.text) <= MAX_TEXT


def test_scan_reads_what_follows_a_long_progress_bar() -> None:
    bar = b"".join(b"\r%d%%|###   | loss=2.31" % (percent % 100) for percent in range(20_000))
    (hit,) = read(b"start\n", bar, b"\rRuntimeError: No space left on device\n").hits
    assert (hit.first.place.line, hit.first.text) == (2, "RuntimeError: No space left on device")


def test_scan_reads_the_end_of_a_long_line() -> None:
    (hit,) = read(b"x" * 50_000, b" No space left on device\n").hits
    assert hit.first.text.endswith("x No space left on device")


def test_scan_accepts_crlf() -> None:
    root, cascade = read(LOG.replace(b"\n", b"\r\n")).hits
    assert root.error is not None and root.error.summary == "KeyError: 'labels'"
    assert (root.first.place.line, cascade.first.place.line) == (10, 9)


@given(st.lists(st.binary(max_size=3 * BLOCK // 2), max_size=3))
def test_blocks_have_the_bytes_of_the_chunks(chunks: list[bytes]) -> None:
    found = list(blocks(chunks))
    assert b"".join(found) == b"".join(chunks)
    assert all(len(block) <= 2 * BLOCK for block in found)


@given(st.binary(max_size=2000))
def test_scan_accepts_any_bytes(data: bytes) -> None:
    read(data, b"\nTraceback (most recent call last):\n", data)


def test_scan_makes_hostile_text_printable() -> None:
    (hit,) = read(b"No space left on device \x1b[2J\x07\xe2\x80\xae" + b"x" * 5000).hits
    assert hit.first.text.isprintable() and len(hit.first.text) <= MAX_TEXT


def flood(line: bytes, size: int) -> Iterator[bytes]:
    for _ in range(size // len(line) // 1000):
        yield line * 1000


def test_scan_counts_a_flood_in_bounded_memory() -> None:
    line = b"[rank7]: RuntimeError: Connection closed by peer [10.0.0.17]:4711\n"
    size = 4 << 20
    tracemalloc.start()
    (hit,) = diagnose([(Source("log"), flood(line, size))]).hits
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (hit.ranks, hit.count) == ((7,), size // len(line) // 1000 * 1000)
    assert peak < size // 2


def test_scan_is_fast_after_an_unfinished_traceback() -> None:
    log = b'[rank3]: Traceback (most recent call last):\n[rank3]:   File "a.py", line 1, in f\n'
    start = time.process_time()
    diagnose([(Source("log"), [log, *flood(b"step 100 of 1000: loss 2.31\n", 32 << 20)])])
    assert time.process_time() - start < 2.0


def test_scan_reads_ordinary_output_fast() -> None:
    line = b"epoch 3 step 1042 loss 2.3145 lr 1.0e-04 grad_norm 1.21 tokens/s 123456 mem 45.1GiB\n"
    start = time.process_time()
    diagnose([(Source("log"), flood(line, 64 << 20))])
    assert 64 / (time.process_time() - start) > 100  # MiB a second of processor time


@pytest.mark.parametrize(
    "last", [b"XError: bad plan 7\n", b"[rank1]: lib.core.XError: bad plan\n\n", b"XError: bad"]
)
def test_scan_takes_an_exception_at_the_end_for_the_likely_cause(last: bytes) -> None:
    (hit,) = read(b"step 1 loss 2.3\n", last).hits
    assert (hit.signature.id, hit.first.place.line) == ("python.last-line", 2)
    assert hit.certainty is Certainty.LIKELY


@pytest.mark.parametrize(
    "log",
    [
        b"XError: bad plan\nsaved the model\n",  # the program continued
        b"XError: bad plan, retrying\n",
        b"INFO XError: bad plan\n",
        b"Errors: 0\n",
        b"Exception ignored in: <module>\nTraceback (most recent call last):\nXError: bad plan\n",
        b"XError:\n",
    ],
)
def test_scan_takes_no_other_line_for_an_exception_at_the_end(log: bytes) -> None:
    assert read(log).verdict is None


def test_scan_reads_the_end_of_a_traceback_once() -> None:
    log = b'Traceback (most recent call last):\n  File "a.py", line 1, in f\nXError: bad plan\n'
    (hit,) = read(log).hits
    assert hit.signature.id == "python.exception"


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * BLOCK,
        b"error: " * (BLOCK // 7),
        b"step 1 loss 2.3\n" * (BLOCK // 16),
        b"Error: something failed\n" * (BLOCK // 24),
        b"RuntimeError: CUDA out of memory\n" * (BLOCK // 33),
        b"W0101 socket.cpp:752 failed to connect to [node0]:29500 (Connection refused)\n"
        * (BLOCK // 80),
        b"Traceback (most recent call last):\n" * (BLOCK // 35),
    ],
)
def test_scan_of_what_repeats_is_fast(piece: bytes) -> None:
    start = time.process_time()
    read(*[piece] * 32)  # 8 MiB
    assert time.process_time() - start < 8  # ten times what 100 MB in 10 s allows


SAME = (
    b"step 7\n",
    b"No space left on device\n",
    b"W socket.cpp:752 The client socket has failed to connect to [node0]:29500 (errno: 111)\n",
    b"Traceback (most recent call last):\n",
    b'  File "train.py", line 3, in step\n',
    b"ValueError: bad batch\n",
    b"[rank1]: RuntimeError: CUDA out of memory\n",
    b"saved checkpoint\n",
)


@given(st.lists(st.tuples(st.sampled_from(SAME), st.integers(1, 6)), max_size=30))
def test_scan_of_lines_that_repeat_finds_what_it_finds_line_by_line(
    runs: list[tuple[bytes, int]],
) -> None:
    log = b"".join(line * times for line, times in runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_end_of_same", lambda block, start, end: end)
        expected = read(log)
    assert read(log) == expected


@pytest.mark.parametrize("times", [2, 1000, 1001, 5000, 100_000])
def test_scan_counts_every_one_of_many_same_lines(times: int) -> None:
    (hit,) = read(b"step 1\n" + b"OSError: No space left on device\n" * times + b"step 2\n").hits
    assert (hit.count, hit.first.place.line) == (times, 2)
