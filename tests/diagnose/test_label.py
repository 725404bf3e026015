"""Prefixes of launchers, and who printed a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnose import Source, diagnose
from orchestrator.diagnose.label import MAX_TEXT, Label, Line, parse_line

PREFIXES = {
    "[rank3]: ": Label(rank=3),
    "[rank3]:": Label(rank=3),
    "[default3]:": Label(local=3),
    "[trainer0|5]: ": Label(local=0),
    "[1,3]<stderr>:": Label(rank=3),
    "3: ": Label(rank=3),
    " 12: ": Label(rank=12),
    "node1: ": Label(node="node1"),
    "gpu-2.cluster: ": Label(node="gpu-2.cluster"),
    "r3  node1 │ ": Label(rank=3, node="node1"),
    "-- node1 │ ": Label(node="node1"),
    "r[5-62] ×58 8 nodes │ ": Label(rank=5),
    "node1: [rank3]: ": Label(rank=3, node="node1"),
    "1: [default3]:": Label(local=3),
    "[pod/train-worker-3/pytorch] ": Label(node="train-worker-3"),
    "worker-3  | ": Label(node="worker-3"),
    "2026-01-31T09:30:00.125Z r3 node1 │ [rank3]:": Label(rank=3, node="node1"),
    "2026-01-31T04:30:00.125-05:00 r3 node1 │ [rank3]:": Label(rank=3, node="node1"),
}


@pytest.mark.parametrize(("prefix", "label"), PREFIXES.items())
def test_parse_line_removes_the_prefix_of_a_launcher(prefix: str, label: Label) -> None:
    line = parse_line(f"{prefix}ValueError: bad".encode())
    assert (line.text, line.label) == ("ValueError: bad", label)


def test_parse_line_keeps_the_indentation_after_a_prefix() -> None:
    line = parse_line(b'[rank3]:   File "train.py", line 3, in step')
    assert line.text == '  File "train.py", line 3, in step'


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: bad",
        "python3.11: can't open file",
        "torchrun: error: x",
        "error: 3",
        "step-3 | loss nan",
        "bash: x: y",
    ],
)
def test_parse_line_keeps_text_that_is_not_a_prefix(text: str) -> None:
    assert parse_line(text.encode()).text == text


def test_parse_line_of_nccl_has_the_host() -> None:
    line = parse_line(b"gpu-a:12:34 [1] misc/socket.cc:71 NCCL WARN Connection closed")
    assert line.label == Label(node="gpu-a")
    assert line.text == "misc/socket.cc:71 NCCL WARN Connection closed"


def test_parse_line_reads_the_time() -> None:
    line = parse_line("2026-01-31T09:30:00.125Z r3 node1 │ x".encode())
    assert line.time == 1769851800.125


def test_parse_line_reads_json_of_orch() -> None:
    raw = b'{"t": 12.5, "rank": 3, "local_rank": 1, "node": "node1", "text": "[rank3]: x"}'
    assert parse_line(raw) == Line("x", Label(rank=3, node="node1"), 12.5)


@pytest.mark.parametrize(
    "raw", [b'{"t":', b'{"t": 1}', b'{"t": 1, "text": 3}', b'{"t":' + b"[" * 4000]
)
def test_parse_line_of_invalid_json_is_the_text(raw: bytes) -> None:
    assert parse_line(raw).text == raw.decode()


def test_parse_line_removes_colours() -> None:
    line = parse_line(b"\x1b[1;35mValueError\x1b[0m: \x1b[35mbad\x1b[0m\x1b]0;title\x07")
    assert line.text == "ValueError: bad"


@given(st.binary(max_size=2 * MAX_TEXT))
def test_parse_line_accepts_any_bytes(raw: bytes) -> None:
    assert len(parse_line(raw).text) <= MAX_TEXT


def test_json_with_a_whole_traceback_is_read_by_lines() -> None:
    record = {
        "severity": "ERROR",
        "message": 'Traceback (most recent call last):\n  File "/job/train.py", line 7, in f\nKeyError: 3',
        "timestamp": "2026-12-01T02:17:16Z",
    }
    verdict = diagnose([(Source("log"), [json.dumps(record).encode()])]).verdict
    assert verdict is not None and verdict.error is not None
    assert (verdict.error.summary, verdict.error.line) == ("KeyError: 3", 7)
    assert verdict.first.place.time is not None
