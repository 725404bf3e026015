"""Which node is slow, and which link is not what it says."""

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
    """Return the findings where every way has the usual rate but some."""
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
def test_alike_all_pass(n: int) -> None:
    [finding] = judged(n)
    assert (finding.status, finding.message) == (Status.PASS, "9.4 Gb/s is usual each way")
    assert len(finding.nodes) == n


@given(st.integers(3, 10), st.booleans(), st.data())
def test_the_slow_node_is_named_alone_whichever_way_it_is_slow(
    n: int, sends: bool, data: st.DataObject
) -> None:
    node = data.draw(st.integers(0, n - 1))
    both = data.draw(st.booleans())
    slow = of_node(n, node, GBIT, sends=sends or both, receives=not sends or both)
    findings = judged(n, slow)
    assert brief(findings)[0] == ("fail", f"node{node}")
    assert len(findings) == 2
    assert f"sends {'1' if sends or both else '9.4'} Gb/s" in findings[0].message


def test_a_little_slow_warns_with_the_line_that_shows_more() -> None:
    findings = judged(4, of_node(4, 2, 6 * GBIT))
    assert brief(findings) == [("warn", "node2"), ("pass", "node0,node1,node3")]
    assert findings[0].message == (
        "sends 6 Gb/s and receives 6 Gb/s, whoever it meets; 9.4 Gb/s is usual"
    )
    assert findings[0].remedy is not None
    assert findings[0].remedy.commands == ("tc -s qdisc show dev eth0",)


def test_a_slow_pair_is_named_by_both() -> None:
    findings = judged(5, {(1, 3): 5 * GBIT, (3, 1): 9 * GBIT})
    assert [(f.status.value, f.nodes, f.message) for f in findings[:2]] == [
        ("warn", ("node1",), "to node3 5 Gb/s, back 9 Gb/s; 9.4 Gb/s is usual"),
        ("warn", ("node3",), "to node1 9 Gb/s, back 5 Gb/s; 9.4 Gb/s is usual"),
    ]
    assert findings[2].nodes == ("node0", "node2", "node4")


def test_of_two_nodes_one_way_is_held_against_the_other() -> None:
    assert brief(judged(2, {(0, 1): 8 * GBIT})) == [("pass", "node0,node1")]
    assert [f.status.value for f in judged(2, {(0, 1): 4 * GBIT})] == ["warn", "warn"]
    assert [f.status.value for f in judged(2, {(0, 1): 1 * GBIT})] == ["fail", "fail"]


def test_a_sender_without_cpu_time_says_nothing_against_the_network() -> None:
    assert brief(judged(4, of_node(4, 1, GBIT), busy=0.99)) == [("pass", "node0,node1,node2,node3")]
    known = links(*[100_000] * 4)
    assert brief(judged(4, busy=0.99, answers=known))[0][0] == "pass"


def test_ways_that_cpus_limit_make_no_other_stand_out() -> None:
    """Where CPUs are the limit, most ways tell of them, not of the network."""
    flows = {
        way: flow(6.6 * GBIT, busy=0.5) if way in ((3, 2), (2, 3)) else flow(rate * GBIT, busy=0.97)
        for rate, way in zip((6.0, 6.4, 7.0, 7.4, 9.8) * 4, permutations(range(5), 2), strict=True)
    }
    there = make_context(5, measured={Bandwidth: Bandwidth(flows, {})})
    assert brief(judge_check(CHECK, there)) == [("pass", "node0,node1,node2,node3,node4")]


@given(st.dictionaries(st.sampled_from(list(permutations(range(4), 2))), st.floats(0, 1e12)))
def test_a_pair_is_as_good_as_its_slower_way(rates: dict[tuple[int, int], float]) -> None:
    values = pair_values({way: flow(rate) for way, rate in rates.items()})
    for (a, b), value in values.items():
        assert value == min(rates[way] for way in ((a, b), (b, a)) if way in rates)


@pytest.mark.parametrize(
    ("speed", "expected"),
    [(10_000, "pass"), (20_000, "warn"), (40_000, "fail"), (None, "pass")],
)
def test_it_is_held_against_the_speed_of_the_link_where_that_is_known(
    speed: int | None, expected: str
) -> None:
    assert brief(judged(4, answers=links(*[speed] * 4))) == [(expected, "node0,node1,node2,node3")]


def test_the_slower_of_two_links_is_what_counts() -> None:
    slow = of_node(3, 0, 0.94 * GBIT)
    [finding, fine] = judged(3, slow, answers=links(1000, 10_000, 10_000))
    # The others tell that node0 is slow; that its link is full, nic.speed tells.
    assert (finding.nodes, fine.nodes) == (("node0",), ("node1", "node2"))


def test_an_interface_without_hardware_says_any_speed() -> None:
    assert brief(judged(3, answers=links(*[100_000] * 3, device=False)))[0][0] == "pass"


def test_what_could_not_be_measured_never_passes() -> None:
    failures = {way: "timed out" for way in permutations(range(4), 2) if 3 in way}
    findings = judged(4, failures=failures)
    assert brief(findings) == [("incomplete", "node3"), ("pass", "node0,node1,node2")]
    assert findings[0].message == "could not be measured: timed out"
    assert brief(judge_check(CHECK, make_context(2))) == [("incomplete", "node0,node1")]
    everything = dict.fromkeys(permutations(range(3), 2), "timed out")
    assert brief(judged(3, failures=everything)) == [("incomplete", "node0,node1,node2")]


def test_one_way_that_failed_is_named_by_both() -> None:
    findings = judged(4, failures={(1, 2): "refused"})
    assert [(f.status.value, f.nodes, f.message) for f in findings[:2]] == [
        ("incomplete", ("node1",), "could not be measured with node2: refused"),
        ("incomplete", ("node2",), "could not be measured with node1: refused"),
    ]


def test_one_node_alone_is_skipped() -> None:
    assert brief(judged(1)) == [("skip", "node0")]


@pytest.mark.parametrize(
    "more",
    [
        {"seconds": 0}, {"seconds": float("nan")}, {"bytes": -1}, {"bytes": 1e30}, {"bytes": None},
        {"busy": "x"},
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_none(more: Mapping[str, Any]) -> None:
    told = {"bytes": 10, "seconds": 0.3, "busy": 0.1}
    assert Flow.parse(told).rate == pytest.approx(33.3, rel=0.01)
    with pytest.raises((ArithmeticError, TypeError, ValueError)):
        Flow.parse({**told, **more})
