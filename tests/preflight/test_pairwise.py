"""Measurements between pairs of nodes, for pictures."""

from __future__ import annotations

import math

from orchestrator.preflight.collectives.result import Gloo, Nccl
from orchestrator.preflight.interfaces.throughput import Bandwidth, Flow
from orchestrator.preflight.model import NoAnswer
from orchestrator.preflight.pairwise import Values, pairwise
from orchestrator.preflight.reach.attempts import Outcome, Way
from orchestrator.preflight.reach.reachability import Reachability
from tests.preflight.contexts import make_context


def found(*measured: object) -> dict[str, Values]:
    by_type = {type(each): each for each in measured}
    return {
        quantity.key: values
        for quantity, values in pairwise(make_context(3, measured=by_type)).items()
    }


def test_latency_is_only_of_connections_that_succeeded() -> None:
    outcomes = {
        Way("node0", "node1", "ephemeral"): Outcome("ok", 1e-4),
        Way("node1", "node0", "ephemeral"): Outcome("refused", 1e-5),
        Way("node0", "node0", "main"): Outcome("ok", 1e-5),
    }
    assert found(Reachability(outcomes)) == {"latency_seconds": {("node0", "node1"): 1e-4}}


def test_bandwidth_is_by_node_names() -> None:
    flow = Flow(rate=1e9, busy=0.1)
    assert found(Bandwidth({(2, 0): flow}, {(0, 2): "timed out"})) == {
        "bandwidth_bytes_per_second": {("node2", "node0"): 1e9}
    }


def test_invalid_values_are_left_out() -> None:
    seconds = [math.nan, math.inf, -1.0, 0.5]
    outcomes = {
        Way("node0", f"node{i}", "ephemeral"): Outcome("ok", value)
        for i, value in enumerate(seconds, start=1)
    }
    assert found(Reachability(outcomes)) == {"latency_seconds": {("node0", "node4"): 0.5}}


def test_what_was_not_measured_is_left_out() -> None:
    assert found() == {}
    assert found(Gloo(), Nccl()) == {}
    unmeasured = make_context(3, measured={Reachability: NoAnswer("it was not measured")})
    assert pairwise(unmeasured) == {}
