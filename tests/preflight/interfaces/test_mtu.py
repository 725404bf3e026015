"""Verdicts on paths that drop large packets, and their remedies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.interfaces.mtu import CHECKS, Passage, Paths
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, Level, NoAnswer, Status
from orchestrator.preflight.reach.reachability import peers

from ..contexts import brief, make_context, plan_names

[CHECK] = CHECKS
OK: dict[str, Any] = {
    "result": "ok", "text": None, "mss": 1448, "retransmits": 0,
}  # fmt: skip
HOLE = {**OK, "result": "hole", "largest": 1360, "retransmits": 3}


def measured(n: int, unlike: Mapping[tuple[int, int], Mapping[str, Any]]) -> Context:
    """Return a context in which all ways pass except some."""
    tried = peers(plan_names(n), Level.QUICK)
    passages = {
        (i, j): Passage.parse(unlike.get((i, j), OK), 40) for i in range(n) for j in tried[i]
    }
    return make_context(n, measured={Paths: Paths(passages, {})})


def judged(n: int, unlike: Mapping[tuple[int, int], Mapping[str, Any]]) -> list[Finding]:
    return judge_check(CHECK, measured(n, unlike))


def around(n: int, node: int, what: Mapping[str, Any]) -> dict[tuple[int, int], Any]:
    """Every way to and from `node`."""
    ways = ((i, j) for i in range(n) for j in range(n))
    return {way: what for way in ways if node in way}


def test_paths_that_carry_the_mtu_pass() -> None:
    assert brief(judged(4, {})) == [("pass", "node0,node1,node2,node3")]


@given(st.integers(3, 9), st.data())
def test_node_behind_a_black_hole_is_reported_alone(n: int, data: st.DataObject) -> None:
    node = data.draw(st.integers(0, n - 1))
    [hole, fine] = judged(n, around(n, node, HOLE))
    assert (hole.status, hole.nodes) == (Status.FAIL, (f"node{node}",))
    assert len(fine.nodes) == n - 1


def test_remedy_for_a_black_hole_sets_the_size_that_gets_through() -> None:
    smaller = {**HOLE, "largest": 1310}
    [hole, _] = judged(4, {**around(4, 2, HOLE), (0, 2): smaller})
    assert hole.message.startswith("packets of more than 1350 bytes to and from any other node")
    assert hole.remedy is not None
    assert hole.remedy.commands == ("ip link set dev eth0 mtu 1350",)
    assert hole.data["node2"]["node0 > node2"]["largest"] == 1350


def test_black_hole_in_one_direction_is_reported_with_it() -> None:
    inwards = {(i, 2): HOLE for i in (0, 1, 3)}
    [hole, _] = judged(4, inwards)
    assert (hole.nodes, "bytes from any other node" in hole.message) == (("node2",), True)
    outwards = {(2, i): HOLE for i in (0, 1, 3)}
    [hole, _] = judged(4, outwards)
    assert (hole.nodes, "bytes to any other node" in hole.message) == (("node2",), True)


def test_black_hole_between_two_good_nodes_is_reported_for_both() -> None:
    findings = judged(5, {(1, 2): HOLE})
    assert [(f.status.value, f.nodes, f.message[:44]) for f in findings[:2]] == [
        ("fail", ("node1",), "packets of more than 1400 bytes to node2 are"),
        ("fail", ("node2",), "packets of more than 1400 bytes from node1 a"),
    ]
    assert findings[2].nodes == ("node0", "node3", "node4")


def test_black_hole_between_all_nodes_is_one_finding() -> None:
    everywhere = {(i, j): HOLE for i in range(5) for j in range(5)}
    assert brief(judged(5, everywhere)) == [("fail", ",".join(plan_names(5)))]


def test_stall_also_in_small_packets_is_not_the_mtu() -> None:
    [finding, _] = judged(4, around(4, 1, {**OK, "result": "stalled"}))
    assert brief([finding]) == [("fail", "node1")]
    assert "it is not the MTU" in finding.message
    assert finding.remedy is not None
    assert finding.remedy.commands == ()


def test_stall_that_does_not_repeat_warns() -> None:
    [finding, _] = judged(4, {(3, 0): {**OK, "result": "unsteady"}})[:2]
    assert (finding.status, finding.nodes) == (Status.WARN, ("node0",))


@pytest.mark.parametrize(
    ("result", "text"),
    [("failed", "Connection refused"), ("foreign", None), ("late", None)],
)
def test_path_that_could_not_be_tried_is_incomplete(result: str, text: str | None) -> None:
    findings = judged(4, around(4, 3, {**OK, "result": result, "text": text}))
    assert brief(findings) == [("incomplete", "node3"), ("pass", "node0,node1,node2")]
    assert findings[0].message.endswith(text or result)


def test_slow_path_passes() -> None:
    assert brief(judged(3, around(3, 1, {**OK, "result": "slow"})))[0][0] == "pass"


def test_node_that_took_no_part_is_incomplete() -> None:
    there = make_context(2, measured={Paths: Paths({}, {1: NoAnswer("it hung")})})
    assert sorted(brief(judge_check(CHECK, there))) == [
        ("incomplete", "node0"),
        ("incomplete", "node1"),
    ]


@pytest.mark.parametrize("more", [{"result": "nonsense"}, {"mss": "x"}, {"largest": []}])
def test_parse_of_an_invalid_passage_raises(more: Mapping[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Passage.parse({**OK, **more}, 40)


def test_paths_not_measured_are_incomplete() -> None:
    assert brief(judge_check(CHECK, make_context(2))) == [("incomplete", "node0,node1")]


def test_single_node_is_skipped() -> None:
    assert brief(judge_check(CHECK, make_context(1))) == [("skip", "node0")]
