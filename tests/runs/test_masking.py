"""Plans as JSON and back, without secrets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory.values import Environment
from orchestrator.plan import Elastic, Job, Network, NodePlan, Plan, make_plan
from orchestrator.plan.launchers.registry import BUILT_IN
from orchestrator.plan.masking import MASK
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.masking import masked_plan
from orchestrator.runs.old_records import renewed_plan
from tests.plan.helpers import facts, host
from tests.runs.helpers import plan_of

VALUE = "a-value-that-nobody-is-to-see"
NAME = st.sampled_from(["HF_TOKEN", "aws_secret", "DB_PASSWORD", "API_KEY", "GIVEN"])


def as_kept(plan: Plan) -> Plan:
    """Return the plan as it is read back: without secrets and what only a start needs."""

    def node_as_kept(node: NodePlan) -> NodePlan:
        bare = node.host.model_copy(update={"env": Environment()})
        return replace(node, host=bare, unset=())

    return replace(plan, nodes=tuple(map(node_as_kept, plan.nodes)), secrets=frozenset())


def recorded(plan: Plan) -> Plan:
    """Return the plan as a record returns it."""
    back: Plan = decode(Plan, json.loads(json.dumps(encode(masked_plan(plan)))))
    return back


@pytest.mark.parametrize("launcher", BUILT_IN)
def test_plan_of_every_launcher_survives(launcher: str) -> None:
    arguments = ("--max-restarts=3",) if launcher == "torchrun" else ()
    plan = plan_of(
        2, 1, run="a-run", launcher=launcher, launcher_arguments=arguments, arguments=("--x", "é ")
    )
    back = recorded(plan)
    assert back == as_kept(plan)
    assert back.restarts_itself == plan.restarts_itself
    assert back.expected_ranks == plan.expected_ranks


@pytest.mark.parametrize("launcher", BUILT_IN)
def test_plan_of_a_version_without_plugins_is_read(launcher: str) -> None:
    arguments = ("--max-restarts=3",) if launcher == "torchrun" else ()
    plan = plan_of(2, 1, run="a-run", launcher=launcher, launcher_arguments=arguments)
    kept = encode(masked_plan(plan))
    del kept["once_per_node"], kept["restarts_ranks"]
    assert decode(Plan, renewed_plan(kept)) == as_kept(plan)
    with pytest.raises(ValueError, match="'gone' is no launcher of orch's own"):
        renewed_plan({**kept, "launcher": "gone"})


def test_plan_of_a_missing_launcher_is_read() -> None:
    plan = plan_of(2, 1, run="a-run", launcher="python")
    back = recorded(replace(plan, launcher="gone"))
    assert (back.launcher, set(back.expected_ranks)) == ("gone", {0, 2})


def test_elastic_plan_survives() -> None:
    network = Network("10.0.0.1", ("eth0",), None, ("10.0.0.1",))
    job = Job("t.py", elastic=Elastic(1, 4, restarts=7))
    plan = make_plan("r", [host("a")], [facts("a")], job, network, 29500)
    assert recorded(plan) == as_kept(plan)
    before = {name: value for name, value in encode(masked_plan(plan)).items() if name != "elastic"}
    assert decode(Plan, before).elastic is None  # the record of a version without elastic runs


def test_address_of_a_node_survives() -> None:
    far = host(
        "far", address="fe80::1%eth0", port=2222, user="me", proxy_jump="you@gate:22",
        identity_file="/keys/a b", known_hosts="/known", python="~/venv/bin/python",
    )  # fmt: skip
    network = Network("10.0.0.1", (None,), "10.0.0.0/24", ("10.0.0.1",))
    plan = make_plan("r", [far], [facts("far")], Job("t.py"), network, 29500)
    back = recorded(plan)
    assert back.nodes[0].host == far
    assert (back.subnet, back.nodes[0].address, back.nodes[0].interface) == (
        "10.0.0.0/24", "10.0.0.1", None,
    )  # fmt: skip


@pytest.mark.parametrize("launcher", BUILT_IN)
@given(of_host=NAME, of_job=NAME)
def test_masked_plan_has_no_secrets(launcher: str, of_host: str, of_job: str) -> None:
    """A variable is secret by its name, or because the user marked it."""
    node = host("n0", env={of_host: VALUE if of_host != "GIVEN" else "not a secret"})
    job = Job(
        "t.py",
        launcher=launcher,
        environment={of_job: VALUE, "SHOWN": "a-value-to-see"},
        secrets=frozenset({of_job}),
    )
    network = Network("10.0.0.1", ("eth0",), None, (None,))
    plan = make_plan("r", [node], [facts("n0")], job, network, 1)
    text = json.dumps(encode(masked_plan(plan)))
    assert VALUE not in text
    assert "a-value-to-see" in text
    assert decode(Plan, json.loads(text)).nodes[0].environment[of_job] == MASK


@pytest.mark.parametrize("described", [None, [], "", 3, {}, {"nodes": []}])
def test_invalid_plan_is_refused(described: object) -> None:
    with pytest.raises(ValueError, match=r"expected dict|is missing"):
        decode(Plan, described)
