"""Verdicts on bandwidth: slow nodes, slow pairs, links that are not as fast as reported."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.interfaces.bandwidth import CHECKS
from orchestrator.preflight.interfaces.interfaces import INTERFACES
from orchestrator.preflight.interfaces.throughput import Bandwidth, Flow, pair_values
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Finding, Status

from ..contexts import answered, brief, make_context

[CHECK] = CHECKS
GBIT = 125e6
Rates = Mapping[tuple[int, int], float]


def flow(rate: float, *, busy: float = 0.4) -> Flow:
    return Flow(rate, busy)


def links(*speeds: int | None, device: bool = True) -> dict[str, list[Any]]:
    """The nodes' answers about eth0, with these speeds in Mb/s."""
    entries: list[dict[str, Any]] = [
        {
            "name": "eth0", "addresses": [], "mtu": 1500, "speed": speed, "duplex": "full",
            "device": device, "running": True, "roce": [], "arp_ignore": 0,
            "arp_announce": 0,
        }
        for speed in speeds
    ]  # fmt: skip
    return answered(INTERFACES, *([entry] for entry in entries))


def judged(
    n: int,
    unlike: Rates | None = None,
    *,
    usual: float = 9.4 * GBIT,
    busy: float = 0.4,
    failures: Mapping[tuple[int, int], str] | None = None,
    answers: Mapping[str, list[Any]] | None = None,
) -> list[Finding]:
    """Return the findings if every way has the usual rate except some."""
    flows = {
        way: flow((unlike or {}).get(way, usual), busy=busy)
        for way in permutations(range(n), 2)
        if way not in (failures or {})
    }
    measured = {Bandwidth: Bandwidth(flows, failures or {})}
    return judge_check(CHECK, make_context(n, measured=measured, answers=answers))


def of_node(n: int, node: int, rate: float, *, sends: bool = True, receives: bool = True) -> Rates:
    return {
        (a, b): rate
        for a, b in permutations(range(n), 2)
        if (sends and a == node) or (receives and b == node)
    }


@pytest.mark.parametrize("n", [2, 3, 8])
def test_bandwidth_equal_between_all_nodes_passes(n: int) -> None:
    [finding] = judged(n)
    assert (finding.status, finding.message) == (Status.PASS, "9.4 Gb/s is usual each way")
    assert len(finding.nodes) == n


@given(st.integers(3, 10), st.booleans(), st.data())
def test_slow_node_in_either_direction_is_reported_alone(
    n: int, sends: bool, data: st.DataObject
) -> None:
    node = data.draw(st.integers(0, n - 1))
    both = data.draw(st.booleans())
    slow = of_node(n, node, GBIT, sends=sends or both, receives=not sends or both)
    findings = judged(n, slow)
    assert brief(findings)[0] == ("fail", f"node{node}")
    assert len(findings) == 2
    assert f"sends {'1' if sends or both else '9.4'} Gb/s" in findings[0].message


def test_slightly_slow_node_warns_with_a_command_to_inspect_it() -> None:
    findings = judged(4, of_node(4, 2, 6 * GBIT))
    assert brief(findings) == [("warn", "node2"), ("pass", "node0,node1,node3")]
    assert findings[0].message == (
        "sends 6 Gb/s and receives 6 Gb/s with every peer; 9.4 Gb/s is usual"
    )
    assert findings[0].remedy is not None
    assert findings[0].remedy.commands == ("tc -s qdisc show dev eth0",)


def test_slow_pair_is_reported_for_both_nodes() -> None:
    findings = judged(5, {(1, 3): 5 * GBIT, (3, 1): 9 * GBIT})
    assert [(f.status.value, f.nodes, f.message) for f in findings[:2]] == [
        ("warn", ("node1",), "to node3 5 Gb/s, back 9 Gb/s; 9.4 Gb/s is usual"),
        ("warn", ("node3",), "to node1 9 Gb/s, back 5 Gb/s; 9.4 Gb/s is usual"),
    ]
    assert findings[2].nodes == ("node0", "node2", "node4")


def test_two_nodes_with_a_lopsided_link_warn_or_fail() -> None:
    assert brief(judged(2, {(0, 1): 8 * GBIT})) == [("pass", "node0,node1")]
    assert [f.status.value for f in judged(2, {(0, 1): 4 * GBIT})] == ["warn", "warn"]
    assert [f.status.value for f in judged(2, {(0, 1): 1 * GBIT})] == ["fail", "fail"]


def test_cpu_bound_sender_is_not_counted_against_the_network() -> None:
    assert brief(judged(4, of_node(4, 1, GBIT), busy=0.99)) == [("pass", "node0,node1,node2,node3")]
    known = links(*[100_000] * 4)
    assert brief(judged(4, busy=0.99, answers=known))[0][0] == "pass"


def test_faster_cpu_bound_ways_do_not_make_a_network_bound_way_slow() -> None:
    flows = {
        way: flow(6.6 * GBIT, busy=0.5) if way in ((3, 2), (2, 3)) else flow(rate * GBIT, busy=0.97)
        for rate, way in zip((6.0, 6.4, 7.0, 7.4, 9.8) * 4, permutations(range(5), 2), strict=True)
    }
    there = make_context(5, measured={Bandwidth: Bandwidth(flows, {})})
    assert brief(judge_check(CHECK, there)) == [("pass", "node0,node1,node2,node3,node4")]


@given(st.dictionaries(st.sampled_from(list(permutations(range(4), 2))), st.floats(0, 1e12)))
def test_value_of_a_pair_is_its_slower_way(rates: dict[tuple[int, int], float]) -> None:
    values = pair_values({way: flow(rate) for way, rate in rates.items()})
    for (a, b), value in values.items():
        assert value == min(rates[way] for way in ((a, b), (b, a)) if way in rates)


@pytest.mark.parametrize(
    ("speed", "expected"),
    [(10_000, "pass"), (20_000, "warn"), (40_000, "fail"), (None, "pass")],
)
def test_bandwidth_is_compared_with_the_known_speed_of_the_link(
    speed: int | None, expected: str
) -> None:
    assert brief(judged(4, answers=links(*[speed] * 4))) == [(expected, "node0,node1,node2,node3")]


def test_slower_of_two_links_is_the_one_compared() -> None:
    slow = of_node(3, 0, 0.94 * GBIT)
    [finding, fine] = judged(3, slow, answers=links(1000, 10_000, 10_000))
    # node0 is slow beside the others; nic.speed reports that its link is full.
    assert (finding.nodes, fine.nodes) == (("node0",), ("node1", "node2"))


def test_speed_of_an_interface_without_hardware_is_ignored() -> None:
    assert brief(judged(3, answers=links(*[100_000] * 3, device=False)))[0][0] == "pass"


def test_node_that_could_not_be_measured_is_incomplete() -> None:
    failures = {way: "timed out" for way in permutations(range(4), 2) if 3 in way}
    findings = judged(4, failures=failures)
    assert brief(findings) == [("incomplete", "node3"), ("pass", "node0,node1,node2")]
    assert findings[0].message == "could not be measured: timed out"
    assert brief(judge_check(CHECK, make_context(2))) == [("incomplete", "node0,node1")]
    everything = dict.fromkeys(permutations(range(3), 2), "timed out")
    assert brief(judged(3, failures=everything)) == [("incomplete", "node0,node1,node2")]


def test_failed_way_is_reported_for_both_nodes() -> None:
    findings = judged(4, failures={(1, 2): "refused"})
    assert [(f.status.value, f.nodes, f.message) for f in findings[:2]] == [
        ("incomplete", ("node1",), "could not be measured with node2: refused"),
        ("incomplete", ("node2",), "could not be measured with node1: refused"),
    ]


def test_single_node_is_skipped() -> None:
    assert brief(judged(1)) == [("skip", "node0")]


@pytest.mark.parametrize(
    "more",
    [
        {"seconds": 0}, {"seconds": float("nan")}, {"bytes": -1}, {"bytes": 1e30}, {"bytes": None},
        {"busy": "x"},
    ],
)  # fmt: skip
def test_parse_of_an_invalid_flow_raises(more: Mapping[str, Any]) -> None:
    raw = {"bytes": 10, "seconds": 0.3, "busy": 0.1}
    assert Flow.parse(raw).rate == pytest.approx(33.3, rel=0.01)
    with pytest.raises((ArithmeticError, TypeError, ValueError)):
        Flow.parse({**raw, **more})
