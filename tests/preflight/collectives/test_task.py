"""Messages of a trial's script, among other output."""

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
from orchestrator.preflight.collectives.trial import OutputParser

MARK = b"4f1c "
LINES = 100

KEYS = st.sampled_from(
    [
        "joined",
        "done",
        "summed",
        "rank",
        "right",
        "all_reduced",
        "exchanged",
        "seconds",
        "pair",
        "size",
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"joined": {"rank": 2}}', Joined(2)),
        ('{"summed": {"rank": 1, "size": 1048576, "right": true}}', Summed(1, 1048576, right=True)),
        ('{"summed": {"rank": 1, "size": 4, "right": "yes"}}', Summed(1, 4, right=False)),
        (
            '{"all_reduced": {"rank": 0, "size": 8, "seconds": [0.5, 1]}}',
            AllReduced(0, 8, (0.5, 1.0)),
        ),
        (
            '{"exchanged": {"rank": 2, "pair": [0, 2], "size": 8, "seconds": [0.5]}}',
            Exchanged(2, (0, 2), 8, (0.5,)),
        ),
        ('{"done": {"rank": 0}}', Done(0)),
    ],
)
def test_parse_of_each_kind_of_message(line: str, word: object) -> None:
    assert parse(line.encode()) == word


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "7",
        '{"joined": {"rank": -1}}',
        '{"joined": {"rank": true}}',
        '{"joined": {"rank": "2"}}',
        '{"joined": {"rank": 1e400}}',
        '{"summed": {"rank": 0, "size": 0, "right": true}}',
        '{"all_reduced": {"rank": 0, "size": 8, "seconds": []}}',
        '{"all_reduced": {"rank": 0, "size": 8, "seconds": [0]}}',
        '{"all_reduced": {"rank": 0, "size": 8, "seconds": [NaN]}}',
        '{"all_reduced": {"rank": 0, "size": 8, "seconds": [Infinity]}}',
        '{"all_reduced": {"rank": 0, "size": 8, "seconds": ' + json.dumps([1.0] * 101) + "}}",
        '{"exchanged": {"rank": 0, "pair": [0], "size": 8, "seconds": [1]}}',
        '{"exchanged": {"rank": 0, "pair": [0, 1, 2], "size": 8, "seconds": [1]}}',
        "[" * 10_000,
    ],
)
def test_parse_of_an_invalid_message_raises(line: str) -> None:
    with pytest.raises(ValueError):
        parse(line.encode())


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_parse_of_any_bytes_returns_a_message_or_raises_value_error(line: bytes) -> None:
    try:
        message = parse(line)
    except ValueError:
        return
    assert message.rank >= 0


def test_argument_of_a_task_is_json() -> None:
    task = Task("gloo", (1, 2), (4, 8), (((0, 1),),), 0.5, 60.0, 100.0, "mark ")
    argument = json.loads(task.argument)
    assert argument["devices"] == [1, 2]
    assert argument["rounds"] == [[[0, 1]]]
    assert argument["mark"] == "mark "


@given(
    st.lists(
        st.sampled_from(
            [b'4f1c {"done": {"rank": 3}}', b"4f1c nonsense", b"NCCL INFO", b"", b"\x1b[2J"]
        )
    ),
    st.data(),
)
def test_parser_finds_messages_in_other_output_cut_anywhere(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    parser = OutputParser(MARK)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        parser.feed(stream[start:end])
    assert parser.messages == [Done(3)] * lines.count(b'4f1c {"done": {"rank": 3}}')
    others = [line for line in lines if line and b"done" not in line]
    assert len(parser.last_lines) == min(len(others), LINES)
    assert all(line.isprintable() for line in parser.last_lines)


def test_parser_bounds_messages_and_lines() -> None:
    parser = OutputParser(MARK)
    for _ in range(64):
        parser.feed(b"x" * (1 << 16))
    parser.feed(b"\n" + b"line\n" * 100_000 + b'4f1c {"done": {"rank": 1}}\n' * 10_000 + b"last")
    assert len(parser.messages) < 10_000
    assert len(parser.last_lines) <= LINES + 1
    assert parser.last_lines[-1] == "last"
