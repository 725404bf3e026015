"""What a node reports is parsed, or refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import NodeError
from orchestrator.hangs.snapshot import Frame, Snapshot, StuckConnection, parse_snapshot
from orchestrator.util.answers import parse_answer

PROCESS: dict[str, Any] = {
    "pid": 7, "rank": 0, "own": True, "name": "python", "state": "S", "used": 1.5, "main_used": 1,
    "moved": 10, "by": "signal", "why": "",
    "threads": [{"name": "MainThread", "main": True, "frames": [["f", "/a.py", 3]]}],
}  # fmt: skip
SOCKET: dict[str, Any] = {
    "pid": 7, "state": "connecting", "local": ["10.0.0.2", 4000], "remote": ["10.0.0.1", 29500],
    "unacked": 1, "retransmits": 2,
}  # fmt: skip
ANSWER: dict[str, Any] = {"at": 12.5, "processes": [PROCESS], "sockets": [SOCKET]}


def parse(answer: Any) -> Snapshot:
    return parse_answer("n0", "stacks", lambda answer: parse_snapshot("n0", answer), answer)


def test_snapshot_has_what_the_node_reported() -> None:
    snapshot = parse(ANSWER)
    (process,) = snapshot.processes
    assert (snapshot.node, snapshot.at, process.rank, process.main_used) == ("n0", 12.5, 0, 1.0)
    assert process.stack == (Frame("f", "/a.py", 3),)
    assert snapshot.stuck == (
        StuckConnection(7, True, ("10.0.0.2", 4000), ("10.0.0.1", 29500), 1, 2),
    )


def test_snapshot_texts_are_printable() -> None:
    thread = {"name": "a\x1b[2Jb", "main": True, "frames": [["x\n\ny", "\x9b31m" + "z" * 999, 1]]}
    (process,) = parse({**ANSWER, "processes": [{**PROCESS, "threads": [thread]}]}).processes
    assert process.threads[0].name == "a [2Jb"
    assert process.stack[0].function == "x y"
    assert len(process.stack[0].file) <= 300
    assert process.stack[0].file.isprintable()


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": -1}, {"pid": True}, {"rank": "0"}, {"rank": 1 << 40}, {"used": float("nan")},
        {"used": "1"}, {"name": None}, {"threads": None}, {"threads": [{}]},
        {"threads": [{"name": "", "main": True, "frames": [["f", "a"]]}]},
    ],
)  # fmt: skip
def test_snapshot_with_an_invalid_process_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NodeError, match="invalid answer to 'stacks'"):
        parse({**ANSWER, "processes": [{**PROCESS, **wrong}]})


@pytest.mark.parametrize(
    "wrong", [{"remote": ["host", 1]}, {"remote": ["10.0.0.1", 70000]}, {"local": 3}, {"pid": None}]
)
def test_snapshot_with_an_invalid_connection_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NodeError, match="invalid answer to 'stacks'"):
        parse({**ANSWER, "sockets": [{**SOCKET, **wrong}]})


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ANSWER, *PROCESS, *SOCKET]), inner)
    ),
    max_leaves=15,
)


@given(ANY)
def test_snapshot_of_anything_else_is_refused(answer: Any) -> None:
    with suppress(NodeError):
        parse(answer)
