"""A job with an environment above the limits of a node's kernel is refused before the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from orchestrator.errors import LaunchError, NodeError
from orchestrator.inventory import Host
from orchestrator.pipeline.exec_limits import check_exec_limits
from orchestrator.plan import Plan
from orchestrator.remote.fleet import Fleet
from tests.remote.fake import FakeTransport
from tests.runs.helpers import plan_of


class Says:
    """An agent with this answer."""

    def __init__(self, name: str, answer: Any) -> None:
        self.node = Host(name=name, address=name)
        self._answer = answer
        self.asked: list[str] = []

    async def ask(self, verb: str, **arguments: Any) -> Any:
        self.asked.append(verb)
        assert {"env", "unset", "processes"} < arguments.keys()
        return self._answer


def job(size: int, *answers: Any) -> tuple[Fleet, Plan]:
    plan = plan_of(*([1] * len(answers)))
    nodes = [replace(node, environment={"BIG": "x" * size}) for node in plan.nodes]
    fleet = Fleet([node.host for node in nodes], FakeTransport())
    fleet.agents = cast(
        Any, [Says(node.name, answer) for node, answer in zip(nodes, answers, strict=True)]
    )
    return fleet, replace(plan, nodes=tuple(nodes))


async def test_variable_above_the_limit_is_reported_with_its_size() -> None:
    fleet, plan = job(200_000, None, {"one": "BIG", "size": 200_005, "limit": 131_072})
    with pytest.raises(LaunchError) as caught:
        await check_exec_limits(fleet, plan)
    assert caught.value.message == (
        "n1: variable BIG has 200,005 bytes; Linux allows 131,072 in one"
    )
    assert "into a file of the project" in str(caught.value.remedy)


async def test_total_above_the_limit_is_reported_with_the_largest_variables() -> None:
    answer = {
        "one": "", "size": 3_000_000, "limit": 2_097_152, "largest": [["A", 50_003], [None, 40_000]],
    }  # fmt: skip
    with pytest.raises(
        LaunchError, match=r"n0: environment and arguments have 3,000,000 bytes"
    ) as e:
        await check_exec_limits(*job(100_000, answer))
    assert "2,097,152 there" in e.value.message
    assert e.value.message.endswith("The largest: variable A (50,003), an argument (40,000)")


async def test_small_environment_is_not_checked_on_the_nodes() -> None:
    fleet, plan = job(100, None)
    await check_exec_limits(fleet, plan)
    assert cast(Any, fleet.agents[0]).asked == []


@pytest.mark.parametrize(
    "answer", [7, [], {}, {"one": 3, "size": 1, "limit": 1}, {"one": "", "size": 1}]
)
async def test_invalid_answer_to_fits_is_an_error_of_the_node(answer: Any) -> None:
    with pytest.raises(NodeError, match="n0: invalid answer to 'fits'"):
        await check_exec_limits(*job(100_000, answer))
