"""What the script of a trial tells, and what else comes in its streams."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.collectives.task import (
    AllReduced,
    Done,
    Exchanged,
    Joined,
    Summed,
    Task,
    parse,
)
from orchestrator.preflight.collectives.trial import Ear

MARK = b"4f1c "
LINES = 100

KEYS = st.sampled_from(
    ["joined", "done", "sum", "rank", "right", "all_reduce", "seconds", "pair", "bytes"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"joined": 2}', Joined(2)),
        ('{"sum": 1048576, "rank": 1, "right": true}', Summed(1, 1048576, right=True)),
        ('{"sum": 4, "rank": 1, "right": "yes"}', Summed(1, 4, right=False)),
        ('{"all_reduce": 8, "rank": 0, "seconds": [0.5, 1]}', AllReduced(0, 8, (0.5, 1.0))),
        (
            '{"pair": [0, 2], "rank": 2, "bytes": 8, "seconds": [0.5]}',
            Exchanged(2, (0, 2), 8, (0.5,)),
        ),
        ('{"done": 0}', Done(0)),
    ],
)
def test_each_line_of_the_script_is_a_word(line: str, word: object) -> None:
    assert parse(line.encode()) == word


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "7",
        '{"joined": -1}',
        '{"joined": true}',
        '{"joined": "2"}',
        '{"joined": 1e400}',
        '{"sum": 0, "rank": 0, "right": true}',
        '{"all_reduce": 8, "rank": 0, "seconds": []}',
        '{"all_reduce": 8, "rank": 0, "seconds": [0]}',
        '{"all_reduce": 8, "rank": 0, "seconds": [NaN]}',
        '{"all_reduce": 8, "rank": 0, "seconds": [Infinity]}',
        '{"all_reduce": 8, "rank": 0, "seconds": ' + json.dumps([1.0] * 101) + "}",
        '{"pair": [0], "rank": 0, "bytes": 8, "seconds": [1]}',
        '{"pair": [0, 1, 2], "rank": 0, "bytes": 8, "seconds": [1]}',
        "[" * 10_000,
    ],
)
def test_anything_else_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        parse(line.encode())


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_node_says_it_is_a_word_or_a_value_error(line: bytes) -> None:
    try:
        word = parse(line)
    except ValueError:
        return
    assert word.rank >= 0


def test_the_script_is_told_all_in_one_word() -> None:
    task = Task("gloo", (1, 2), (4, 8), (((0, 1),),), 0.5, 60.0, 100.0, "mark ")
    told = json.loads(task.argument)
    assert told["devices"] == [1, 2]
    assert told["rounds"] == [[[0, 1]]]
    assert told["mark"] == "mark "


@given(
    st.lists(
        st.sampled_from([b'4f1c {"done": 3}', b"4f1c nonsense", b"NCCL INFO", b"", b"\x1b[2J"])
    ),
    st.data(),
)
def test_words_are_found_among_other_output_however_it_is_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    ear = Ear(MARK)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        ear.hear(stream[start:end])
    assert ear.words == [Done(3)] * lines.count(b'4f1c {"done": 3}')
    others = [line for line in lines if line and b"done" not in line]
    assert len(ear.last_lines) == min(len(others), LINES)
    assert all(line.isprintable() for line in ear.last_lines)


def test_a_flood_is_not_kept() -> None:
    ear = Ear(MARK)
    for _ in range(64):
        ear.hear(b"x" * (1 << 16))
    ear.hear(b"\n" + b"line\n" * 100_000 + b'4f1c {"done": 1}\n' * 10_000 + b"last")
    assert len(ear.words) < 10_000
    assert len(ear.last_lines) <= LINES + 1
    assert ear.last_lines[-1] == "last"
