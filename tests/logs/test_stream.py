from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.stream import Stream

streams = st.builds(
    Stream,
    node=st.sampled_from(["node0", "gpu-a.lan"]),
    attempt=st.integers(0, 9_999),
    rank=st.none() | st.integers(0, 9_999_999),
    local_rank=st.none() | st.integers(0, 64),
    channel=st.sampled_from(["stdout", "stderr"]),
)


@given(streams)
def test_parse_is_the_inverse_of_path(stream: Stream) -> None:
    assert Stream.parse(stream.node, stream.path, stream.local_rank) == stream


def test_path_has_attempt_rank_and_channel() -> None:
    assert Stream("node0", 0, 3, 1, "stdout").path == "attempt-0/rank-3.out"
    assert Stream("node0", 2, None, None, "stderr").path == "attempt-2/launcher.err"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "rank-3.out",
        "../attempt-0/rank-3.out",
        "attempt-0/../../x/rank-3.out",
        "/attempt-0/rank-3.out",
        "attempt-0//rank-3.out",
        "attempt-0/rank-3.out\n",
        "attempt-0/rank-3.out\0",
        "attempt-0/rank-03.out",
        "attempt-00/rank-3.out",
        "attempt-0/rank--3.out",
        "attempt-0/rank-3.log",
        "attempt-0/RANK-3.out",
        "attempt-0/rank-٣.out",
        "attempt-0/rank-" + "9" * 50 + ".out",
        "attempt-99999/rank-3.out",
    ],
)
def test_parse_of_an_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"does not name a log file of a run"):
        Stream.parse("node0", path)


@given(st.text())
def test_parse_of_any_text_is_refused_or_exact(path: str) -> None:
    try:
        stream = Stream.parse("node0", path)
    except ValueError:
        return
    assert stream.path == path


@pytest.mark.parametrize("node", ["", ".", "..", "a/b", "../x", "a\0b", "a\x1b[2J", "a\nb"])
def test_node_that_cannot_name_a_folder_is_refused(node: str) -> None:
    with pytest.raises(ValueError, match="cannot name a node's log folder"):
        Stream(node, 0, 0, 0, "stdout")


@pytest.mark.parametrize(
    "change",
    [{"attempt": -1}, {"attempt": 10_000}, {"rank": -1}, {"local_rank": -2}, {"channel": "tty"}],
)
def test_value_out_of_range_is_refused(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"attempt": 0, "rank": 0, "local_rank": 0, "channel": "stdout"}
    with pytest.raises(ValueError, match=r"is not within|is neither"):
        Stream(node="node0", **(fields | change))
