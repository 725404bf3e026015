"""What a line claims is typed and bounded: the rest of a line counts where a claim makes no sense."""

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

TOLD = '"text": "RuntimeError: CUDA out of memory"}'
HEADER = "Traceback (most recent call last):"


def diagnosed(*lines: str) -> Diagnosis:
    return diagnose([(Source("log"), [line.encode() + b"\n" for line in lines])])


@pytest.mark.parametrize(
    "time", ["1" + "0" * 400, "NaN", "Infinity", "-Infinity", "1e308", "-1", "true", '"1"', "[1]"]
)
def test_a_time_that_is_none_is_left_out_of_a_json_line(time: str) -> None:
    (hit,) = diagnosed(f'{{"t": {time}, "rank": 3, "node": "n1", {TOLD}').hits
    assert (hit.first.place.time, hit.ranks, hit.nodes) == (None, (3,), ("n1",))
    json.dumps(hit.first.place.time, allow_nan=False)


@pytest.mark.parametrize("rank", ["1" + "0" * 400, "true", "-7", "1.5", '"3"', "[]", "10000000"])
def test_a_rank_that_is_none_is_left_out_of_a_json_line(rank: str) -> None:
    (hit,) = diagnosed(f'{{"t": 1.5, "rank": {rank}, {TOLD}').hits
    assert (hit.ranks, hit.first.place.time) == ((), 1.5)


@pytest.mark.parametrize("node", ["", "a b", "\\u001b[2J", "\\ud800", "n" * 300])
def test_a_node_that_cannot_be_one_is_left_out_of_a_json_line(node: str) -> None:
    (hit,) = diagnosed(f'{{"t": 1, "node": "{node}", {TOLD}').hits
    assert hit.nodes == ()


def test_a_lone_surrogate_in_a_json_line_is_replaced() -> None:
    diagnosis = diagnosed('{"t": 1, "text": "\\ud800 CUDA out of memory"}')
    assert diagnosis.hits[0].first.text == "? CUDA out of memory"
    diagnosed(f'{{"t": 1, "text": "{HEADER}"}}', '{"t": 1, "text": "ValueError: \\ud83d"}')


def test_a_time_beyond_the_platforms_in_a_summary_is_left_out() -> None:
    summary = Summary(last=True)
    for line in ("  time      : 0001-01-01_00:00:00", "  rank      : 1 (local_rank: 1)"):
        summary.feed(line)
    ended = summary.feed("  exitcode  : 1 (pid: 7)")
    assert ended is not None and (ended.rank, ended.time) == (1, None)


def test_a_host_with_controls_in_a_summary_is_left_out() -> None:
    summary = Summary(last=True)
    for line in ("  host      : n1\x1b[2J", "  rank      : 1 (local_rank: 1)"):
        summary.feed(line)
    ended = summary.feed("  exitcode  : 1 (pid: 7)")
    assert ended is not None and ended.node is None


def test_tasks_beyond_any_rank_are_left_out_of_what_slurm_tells() -> None:
    line = f"srun: error: n1: tasks 2,{'9' * 200},9999999-{'9' * 99}: Killed"
    assert [end.rank for end in exits_in(line, Label())] == [2, 9_999_999]


def test_a_chain_of_very_many_exceptions_is_told_in_short() -> None:
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
def test_a_time_that_is_none_is_left_out_of_an_error_file(stamp: object) -> None:
    file = {"message": {"message": "ValueError: 3", "extraInfo": {"timestamp": stamp}}}
    read_file = read_error_file(json.dumps(file).encode())
    assert read_file is not None and read_file[0].summary == "ValueError: 3"
    assert read_file[1] is None


@pytest.mark.parametrize("stack", [3, [[]], {"a": 1}, None, "\ud800"])
def test_a_stack_that_is_none_is_left_out_of_an_error_file(stack: object) -> None:
    message = {"message": "ValueError: \ud800", "extraInfo": {"py_callstack": stack}}
    data = json.dumps({"message": message}).encode()
    (hit,) = diagnose([], Evidence(error_files=((Source("f", 1), data),))).hits
    assert hit.error is not None and hit.error.summary == "ValueError: ?"


def test_a_rank_a_time_and_a_name_are_what_they_are() -> None:
    assert (valid_rank(0), valid_time(3), valid_time(1.5), valid_node("n-1.lan")) == (
        0,
        3.0,
        1.5,
        "n-1.lan",
    )
    assert encodable("é\ud800│") == "é?│"


def test_a_date_before_any_clock_is_no_time() -> None:
    assert parse_line("0001-01-01T00:00:00Z r3 n1 │ x".encode()).time is None
