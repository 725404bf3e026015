"""Any output of ranks, in any chunks, is shown as valid text that is safe for a terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.logs.filter import Grep, LastLines, painter, parse_pattern
from orchestrator.logs.fold import FoldedLines
from orchestrator.logs.json_lines import JsonLines
from orchestrator.logs.lines import Lines, TextLines
from orchestrator.logs.log_line import last_line
from orchestrator.logs.metrics import metrics
from orchestrator.logs.selection import RankSet
from orchestrator.logs.stream import Stream
from orchestrator.logs.timespec import parse_time
from tests.fuzz.terminal_safety import is_terminal_safe

CORPUS = sorted((Path(__file__).parent / "corpus" / "logs").iterdir())
STREAMS = [Stream(f"n{n}", 0, n, 0, channel) for n in (0, 1) for channel in ("stdout", "stderr")]
MAX_SECONDS = 20.0  # for a few kB
MAX_LINE = 200

ENDS = st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"\x08", b"\x7f", b" " * 300])
ESCAPES = st.sampled_from(
    [b"\x1b[31m", b"\x1b[0m", b"\x1b]0;x\x07", b"\x1b[2J", b"\x9b2J", b"\xc2\x9b2J"]
)
TORN = st.sampled_from([b"\xff", b"\xe2\x80", b"\xe2\x80\xae", "é│".encode(), b"[rank1]: "])
NUMBERS = st.sampled_from(
    [
        b"loss=0.5 ",
        b"step 3/10 ",
        b"99%|#| 9/9 [0:1, 3it/s]",
        b"nan",
        b"1" * 500,
        b"a" * 300,
        b"x=1e" * 90,
    ]
)
PIECES = ENDS | ESCAPES | TORN | NUMBERS
CHUNKS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(PIECES | st.binary(max_size=12), max_size=6).map(b"".join),
        st.floats(0, 2e11, allow_nan=False),
    ),
    max_size=12,
)
Chunks = list[tuple[int, bytes, float]]


def run_through(lines: Lines, chunks: Chunks) -> bytes:
    """Return everything that is shown, flushed from time to time as on a terminal."""
    shown, now = [], 0.0
    for number, chunk, t in chunks:
        shown.append(lines.feed(STREAMS[number], chunk, t))
        now += 0.7
        if lines.waiting:
            shown.append(lines.flush(now))
    return b"".join([*shown, lines.close()])


def check(chunks: Chunks, folder: Path) -> None:
    """Check that every way to show lines works in time."""
    started = time.monotonic()
    text = TextLines(lambda s: b"r| ", "terminal", timestamps=True, max_line=MAX_LINE)
    assert is_terminal_safe(run_through(text, chunks))
    folded = FoldedLines(
        lambda s: b"r| ", lambda s: b"r[]| ", "terminal", ranks=2, launchers=0, max_line=MAX_LINE
    )
    assert is_terminal_safe(run_through(folded, chunks))
    for line in run_through(JsonLines(max_line=MAX_LINE), chunks).decode("ascii").splitlines():
        json.loads(line, parse_constant=pytest.fail)
    pattern = parse_pattern("(?:a|loss)[^ ]*|é")
    shown = TextLines(lambda s: b"", "terminal", max_line=MAX_LINE, paint=painter(pattern))
    assert is_terminal_safe(
        run_through(Grep(pattern, LastLines(5, shown), max_line=MAX_LINE), chunks)
    )
    for _, chunk, _ in chunks:
        for name, value in metrics(chunk.decode("utf-8", "replace")):
            assert is_terminal_safe(f"{name}={value}".encode())
    (folder / "log").write_bytes(b"".join(chunk for _, chunk, _ in chunks))
    assert is_terminal_safe(last_line(folder / "log").encode())
    assert time.monotonic() - started < MAX_SECONDS


@given(chunks=CHUNKS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_shown_safely(chunks: Chunks, tmp_path: Path) -> None:
    check(chunks, tmp_path)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_bytes_of_the_corpus_are_shown_safely_in_any_chunks(
    path: Path, size: int, tmp_path: Path
) -> None:
    data = path.read_bytes()
    check([(at % 3, data[at : at + size], float(at)) for at in range(0, len(data), size)], tmp_path)


@given(st.text(max_size=60) | st.from_regex(r"\A[0-9]{1,12}[wdhms:.T-][0-9:.+Z-]{0,20}\Z"))
def test_any_time_is_parsed_or_refused(typed: str) -> None:
    try:
        assert isinstance(parse_time(typed, 1.8e9), float)
    except ValueError as error:
        assert "is not a moment" in str(error)


@given(st.text(max_size=60) | st.text("0123456789,-", max_size=60))
def test_any_set_of_ranks_is_parsed_or_refused(typed: str) -> None:
    try:
        assert 10**7 not in RankSet.parse(typed)
    except ValueError as error:
        assert "rank set" in str(error)
