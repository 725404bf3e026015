"""Invalid values in a line are ignored; the rest of the line counts."""

from __future__ import annotations

import json
import math

import pytest

from orchestrator.diagnose import Diagnosis, Evidence, Source, diagnose
from orchestrator.diagnose.label import Label, parse_line
from orchestrator.diagnose.launcher_exits import Summary, exits_in
from orchestrator.diagnose.record import as_json
from orchestrator.diagnose.traceback import MAX_CHAIN, read_error_file
from orchestrator.diagnose.values import encodable, valid_node, valid_rank, valid_time

TEXT = '"text": "RuntimeError: CUDA out of memory"}'
HEADER = "Traceback (most recent call last):"


def diagnosed(*lines: str) -> Diagnosis:
    return diagnose([(Source("log"), [line.encode() + b"\n" for line in lines])])


@pytest.mark.parametrize(
    "time", ["1" + "0" * 400, "NaN", "Infinity", "-Infinity", "1e308", "-1", "true", '"1"', "[1]"]
)
def test_json_line_with_an_invalid_time_has_none(time: str) -> None:
    (hit,) = diagnosed(f'{{"t": {time}, "rank": 3, "node": "n1", {TEXT}').hits
    assert (hit.first.place.time, hit.ranks, hit.nodes) == (None, (3,), ("n1",))
    json.dumps(hit.first.place.time, allow_nan=False)


@pytest.mark.parametrize("rank", ["1" + "0" * 400, "true", "-7", "1.5", '"3"', "[]", "10000000"])
def test_json_line_with_an_invalid_rank_has_none(rank: str) -> None:
    (hit,) = diagnosed(f'{{"t": 1.5, "rank": {rank}, {TEXT}').hits
    assert (hit.ranks, hit.first.place.time) == ((), 1.5)


@pytest.mark.parametrize("node", ["", "a b", "\\u001b[2J", "\\ud800", "n" * 300])
def test_json_line_with_an_invalid_node_has_none(node: str) -> None:
    (hit,) = diagnosed(f'{{"t": 1, "node": "{node}", {TEXT}').hits
    assert hit.nodes == ()


def test_json_line_with_a_lone_surrogate_is_readable() -> None:
    diagnosis = diagnosed('{"t": 1, "text": "\\ud800 CUDA out of memory"}')
    assert diagnosis.hits[0].first.text == "? CUDA out of memory"
    diagnosed(f'{{"t": 1, "text": "{HEADER}"}}', '{"t": 1, "text": "ValueError: \\ud83d"}')


def test_summary_with_an_invalid_time_has_none() -> None:
    summary = Summary(last=True)
    for line in ("  time      : 0001-01-01_00:00:00", "  rank      : 1 (local_rank: 1)"):
        summary.feed(line)
    ended = summary.feed("  exitcode  : 1 (pid: 7)")
    assert ended is not None and (ended.rank, ended.time) == (1, None)


def test_summary_with_control_characters_in_the_host_has_none() -> None:
    summary = Summary(last=True)
    for line in ("  host      : n1\x1b[2J", "  rank      : 1 (local_rank: 1)"):
        summary.feed(line)
    ended = summary.feed("  exitcode  : 1 (pid: 7)")
    assert ended is not None and ended.node is None


def test_srun_line_with_huge_task_numbers_is_limited_to_ranks() -> None:
    line = f"srun: error: n1: tasks 2,{'9' * 200},9999999-{'9' * 99}: Killed"
    assert [end.rank for end in exits_in(line, Label())] == [2, 9_999_999]


def test_chain_of_many_exceptions_is_shortened() -> None:
    chained = "\nDuring handling of the above exception, another exception occurred:\n"
    log = [f"{HEADER}\nValueError: {number}\n{chained}" for number in range(2000)]
    diagnosis = diagnosed(*log, f"{HEADER}\nKeyError: 'last'")
    error = diagnosis.hits[0].error
    assert error is not None and error.summary == "KeyError: 'last'"
    links = [error]
    while (because := links[-1].because) is not None:
        links.append(because)
    assert len(links) <= MAX_CHAIN + 2 and links[-1].summary == "ValueError: 0"
    json.dumps(as_json(diagnosis))


@pytest.mark.parametrize("stamp", [math.nan, math.inf, 10**400, "9" * 400, "x", True, [1], None])
def test_error_file_with_an_invalid_time_has_none(stamp: object) -> None:
    file = {"message": {"message": "ValueError: 3", "extraInfo": {"timestamp": stamp}}}
    read_file = read_error_file(json.dumps(file).encode())
    assert read_file is not None and read_file[0].summary == "ValueError: 3"
    assert read_file[1] is None


@pytest.mark.parametrize("stack", [3, [[]], {"a": 1}, None, "\ud800"])
def test_error_file_with_an_invalid_stack_is_readable(stack: object) -> None:
    message = {"message": "ValueError: \ud800", "extraInfo": {"py_callstack": stack}}
    data = json.dumps({"message": message}).encode()
    (hit,) = diagnose([], Evidence(error_files=((Source("f", 1), data),))).hits
    assert hit.error is not None and hit.error.summary == "ValueError: ?"


def test_valid_values_are_returned() -> None:
    assert (valid_rank(0), valid_time(3), valid_time(1.5), valid_node("n-1.lan")) == (
        0,
        3.0,
        1.5,
        "n-1.lan",
    )
    assert encodable("é\ud800│") == "é?│"


def test_parse_line_ignores_a_date_before_the_epoch() -> None:
    assert parse_line("0001-01-01T00:00:00Z r3 n1 │ x".encode()).time is None
