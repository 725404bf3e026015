"""Attribution of failures: one injected fault is the one fault found, for any number of nodes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.preflight.model import Level
from orchestrator.preflight.reach.attempts import Cause, Outcome, Way
from orchestrator.preflight.reach.faults import Kind, attribute
from orchestrator.preflight.reach.reachability import peers

PASSED = Outcome("ok", 0.0001, local="198.18.0.10", seen="198.18.0.10")
DROPPED = Outcome("timeout", 4.0, local="198.18.0.10")
REFUSED = Outcome("refused", 0.001, local="198.18.0.10")
NO_ROUTE = Outcome("no-route", 0.0)
FOREIGN = Outcome("foreign", 0.001, detail="SSH-2.0")
LOCALLY_REJECTED = Outcome("unreachable", 0.001, "198.18.0.10", icmp=(3, 13), by="198.18.0.10")
REMOTELY_REJECTED = Outcome("unreachable", 0.001, "198.18.0.10", icmp=(3, 13), by="198.18.0.11")

Stops = Callable[[Way], Outcome | None]


def names(n: int) -> list[str]:
    return [f"node{i}" for i in range(n)]


def ways(n: int, level: Level) -> Iterator[Way]:
    for i, chosen in enumerate(peers(names(n), level)):
        yield Way(f"node{i}", f"node{i}", "ephemeral")
        yield Way(f"node{i}", "node0", "main")
        yield from (Way(f"node{i}", f"node{j}", "ephemeral") for j in chosen)


def found(n: int, level: Level, stops: Stops) -> list[tuple[Kind, tuple[str, ...]]]:
    """Return the faults between `n` nodes; `stops` returns how an attempt fails (None: it passes)."""

    def tried(way: Way) -> Outcome:
        return (None if way.source == way.target else stops(way)) or PASSED

    faults = attribute(names(n), {way: tried(way) for way in ways(n, level)})
    return [(fault.kind, fault.nodes) for fault in faults]


TABLE_FULL = Outcome("table-full", 4.0, local="198.18.0.10")

sizes = st.integers(3, 20)
levels = st.sampled_from(Level)
filtering = st.sampled_from([DROPPED, REFUSED])


@given(n=sizes, level=levels)
def test_attribute_without_failures_is_empty(n: int, level: Level) -> None:
    assert found(n, level, lambda way: None) == []


@given(n=sizes, level=levels, data=st.data(), how=filtering)
def test_attribute_inbound_filter_to_its_node(
    n: int, level: Level, data: st.DataObject, how: Outcome
) -> None:
    node = f"node{data.draw(st.integers(0, n - 1))}"
    stops: Stops = lambda way: how if way.target == node else None  # noqa: E731
    assert found(n, level, stops) == [(Kind.INBOUND, (node,))]


@given(n=sizes, level=levels, data=st.data(), how=filtering)
def test_attribute_node_that_does_not_reach_itself(
    n: int, level: Level, data: st.DataObject, how: Outcome
) -> None:
    node = f"node{data.draw(st.integers(0, n - 1))}"
    outcomes = {way: how if way[:2] == (node, node) else PASSED for way in ways(n, level)}
    faults = attribute(names(n), outcomes)
    assert [(fault.kind, fault.nodes) for fault in faults] == [(Kind.ITSELF, (node,))]


@given(n=sizes, level=levels, how=filtering)
def test_attribute_does_not_report_itself_for_a_node_with_an_inbound_filter(
    n: int, level: Level, how: Outcome
) -> None:
    outcomes = {way: how if way.target == "node1" else PASSED for way in ways(n, level)}
    faults = attribute(names(n), outcomes)
    assert [(fault.kind, fault.nodes) for fault in faults] == [(Kind.INBOUND, ("node1",))]


@given(n=sizes, level=levels, data=st.data(), how=st.sampled_from([DROPPED, LOCALLY_REJECTED]))
def test_attribute_outbound_filter_to_its_node(
    n: int, level: Level, data: st.DataObject, how: Outcome
) -> None:
    node = f"node{data.draw(st.integers(0, n - 1))}"
    stops: Stops = lambda way: how if way.source == node else None  # noqa: E731
    assert found(n, level, stops) == [(Kind.EGRESS, (node,))]


@given(n=sizes, level=levels, data=st.data(), how=st.sampled_from([DROPPED, REFUSED, NO_ROUTE]))
def test_attribute_node_that_is_cut_off(
    n: int, level: Level, data: st.DataObject, how: Outcome
) -> None:
    node = f"node{data.draw(st.integers(0, n - 1))}"

    def stops(way: Way) -> Outcome | None:
        return how if way.source == node else DROPPED if way.target == node else None

    assert found(n, level, stops) == [(Kind.CUT_OFF, (node,))]


@given(n=st.integers(4, 20), level=levels, data=st.data(), how=filtering)
def test_attribute_two_blocks_that_do_not_reach_each_other(
    n: int, level: Level, data: st.DataObject, how: Outcome
) -> None:
    cut = data.draw(st.integers(2, n - 2))
    blocks = names(n)[:cut], names(n)[cut:]

    def stops(way: Way) -> Outcome | None:
        return how if (way.source in blocks[0]) != (way.target in blocks[0]) else None

    smaller = blocks[0] if len(blocks[0]) < len(blocks[1]) else blocks[1]
    assert found(n, level, stops) == [(Kind.BLOCKS, tuple(smaller))]


@given(n=sizes, level=levels, how=st.sampled_from([DROPPED, REFUSED, FOREIGN]))
def test_attribute_closed_main_port(n: int, level: Level, how: Outcome) -> None:
    stops: Stops = lambda way: how if way.port == "main" else None  # noqa: E731
    assert found(n, level, stops) == [(Kind.MAIN_PORT, ("node0",))]


@given(n=st.integers(2, 20), level=levels, how=st.sampled_from([DROPPED, REFUSED]))
def test_attribute_only_the_main_port_open(n: int, level: Level, how: Outcome) -> None:
    outcomes = {
        way: PASSED if way.port == "main" or way.target != "node0" else how
        for way in ways(n, level)
        if way.source != way.target
    }
    (fault,) = attribute(names(n), outcomes)
    assert (fault.kind, fault.nodes, fault.only_main_port) == (Kind.INBOUND, ("node0",), True)


@given(n=sizes, level=levels)
def test_attribute_same_filter_on_all_nodes_is_one_fault(n: int, level: Level) -> None:
    assert found(n, level, lambda way: DROPPED) == [(Kind.EVERYONE, tuple(names(n)))]


@given(n=st.integers(5, 20), data=st.data(), how=filtering)
def test_attribute_filters_on_several_nodes_to_each(
    n: int, data: st.DataObject, how: Outcome
) -> None:
    shut = data.draw(st.sets(st.sampled_from(names(n)), min_size=1, max_size=n - 1))
    stops: Stops = lambda way: how if way.target in shut else None  # noqa: E731
    assert set(found(n, Level.FULL, stops)) == {(Kind.INBOUND, (node,)) for node in shut}


@given(n=sizes, level=levels, data=st.data())
def test_attribute_translated_source(n: int, level: Level, data: st.DataObject) -> None:
    node = f"node{data.draw(st.integers(0, n - 1))}"
    seen = Outcome("ok", 0.001, local="198.18.0.10", seen="198.18.0.99")
    stops: Stops = lambda way: seen if way.source == node else None  # noqa: E731
    assert found(n, level, stops) == [(Kind.TRANSLATED, (node,))]


@given(n=st.integers(4, 20), data=st.data())
def test_attribute_single_failed_pair(n: int, data: st.DataObject) -> None:
    source, target = data.draw(st.permutations(names(n)))[:2]
    stops: Stops = lambda way: DROPPED if way[:2] == (source, target) else None  # noqa: E731
    outcomes = {way: stops(way) or PASSED for way in ways(n, Level.FULL) if way.port != "main"}
    (fault,) = attribute(names(n), outcomes)
    assert (fault.kind, fault.nodes, fault.peers) == (Kind.PAIRS, (target,), (source,))


@pytest.mark.parametrize("main_is_bad", [False, True])
@pytest.mark.parametrize("kind", [Kind.CUT_OFF, Kind.INBOUND, Kind.EGRESS])
def test_attribute_names_each_bad_node_when_a_tenth_of_a_thousand_is_bad(
    kind: Kind, main_is_bad: bool
) -> None:
    size = 1024
    bad = set(random.Random(1).sample(names(size)[1:], size // 10))
    if main_is_bad:
        bad.add("node0")
    into, out_of = kind is not Kind.EGRESS, kind is not Kind.INBOUND

    def stops(way: Way) -> Outcome | None:
        stopped = (into and way.target in bad) or (out_of and way.source in bad)
        return DROPPED if stopped else None

    faults = found(size, Level.QUICK, stops)
    assert {name for _, named in faults for name in named} == bad
    # No two good nodes, and no two bad ones, are reported as blocks.
    assert {found_kind for found_kind, _ in faults} == {kind}
    assert [len(named) for _, named in faults] == [1] * len(bad)


@given(n=sizes, level=levels, data=st.data())
def test_attribute_full_table_is_one_fault_and_no_dropped_packets(
    n: int, level: Level, data: st.DataObject
) -> None:
    full = data.draw(st.sets(st.sampled_from(names(n)), min_size=1))
    tried = [way for way in ways(n, level) if way.source in full and way.source != way.target]
    first = {name: next(way for way in tried if way.source == name) for name in full}

    def stops(way: Way) -> Outcome | None:
        if way in first.values():
            return TABLE_FULL
        # There was room again when it was looked at, or the node could not answer.
        return data.draw(st.sampled_from([None, DROPPED])) if full & {*way[:2]} else None

    ordered = tuple(name for name in names(n) if name in full)
    assert found(n, level, stops) == [(Kind.TABLE_FULL, ordered)]


def two(there: Outcome, back: Outcome) -> list[tuple[Kind, tuple[str, ...], tuple[str, ...]]]:
    outcomes = {
        Way("node0", "node1", "ephemeral"): there,
        Way("node1", "node0", "ephemeral"): back,
        Way("node1", "node0", "main"): back,
    }
    return [(fault.kind, fault.nodes, fault.peers) for fault in attribute(names(2), outcomes)]


def test_attribute_timeout_between_two_nodes_to_either() -> None:
    assert two(DROPPED, PASSED) == [(Kind.EITHER, ("node1",), ("node0",))]
    assert two(DROPPED, DROPPED) == [(Kind.EVERYONE, ("node0", "node1"), ())]


def test_attribute_icmp_between_two_nodes_to_its_sender() -> None:
    assert two(LOCALLY_REJECTED, PASSED) == [(Kind.EGRESS, ("node0",), ("node1",))]
    assert two(REMOTELY_REJECTED, PASSED) == [(Kind.INBOUND, ("node1",), ("node0",))]


def test_attribute_missing_route_between_two_nodes_to_its_node() -> None:
    outcomes = {
        Way("node0", "node1", "ephemeral"): DROPPED,
        Way("node1", "node0", "ephemeral"): NO_ROUTE,
    }
    (fault,) = attribute(names(2), outcomes)
    assert (fault.kind, fault.nodes, fault.cause) == (Kind.CUT_OFF, ("node1",), Cause.NO_ROUTE)


@given(
    n=st.integers(1, 8),
    data=st.data(),
    level=levels,
)
def test_attribute_explains_every_failure(n: int, data: st.DataObject, level: Level) -> None:
    choices = [PASSED, DROPPED, REFUSED, NO_ROUTE, FOREIGN, LOCALLY_REJECTED, REMOTELY_REJECTED]
    tried = list(ways(n, level))
    chosen = data.draw(st.lists(st.sampled_from(choices), min_size=len(tried), max_size=len(tried)))
    outcomes = dict(zip(tried, chosen, strict=True))
    faults = attribute(names(n), outcomes)
    bad = {way[:2] for way, outcome in outcomes.items() if not outcome.passed}
    explained = {way[:2] for fault in faults for way in fault.ways}
    named = {(name, name) for fault in faults for name in fault.suspects}
    assert explained <= bad <= explained | named
    assert {pair for pair in bad if len({*pair}) == 2} <= explained
