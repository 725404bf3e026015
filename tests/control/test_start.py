"""The start of a run on all nodes, or on none."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchestrator.control.start import start
from orchestrator.errors import LaunchError, NodeError
from orchestrator.runs.options import Settings
from tests.runs.fakes import FakeAgent, FakeConnection
from tests.runs.helpers import plan_of

STARTED = {"start": {"problem": None}, "stop": {"alive": True, "time": 1.0}, "sweep": {"left": []}}
FAILED = {**STARTED, "start": {"problem": "no such file: python9"}}


class LostConnection(FakeConnection):
    """A connection that breaks when the job is started and cannot be restored."""

    def __init__(self) -> None:
        def lose(_: Any) -> None:
            self.is_up = False
            raise NodeError("n1", "the connection broke")

        super().__init__(FakeAgent(answers={"start": lose}), NodeError("n1", "no route"))


async def started(*connections: FakeConnection) -> None:
    plan = plan_of(*(1 for _ in connections))
    await start(plan, cast(Any, connections), Settings())


async def test_start_on_all_nodes_stops_none() -> None:
    agents = [FakeAgent(answers=STARTED) for _ in range(2)]
    await started(*map(FakeConnection, agents))
    assert [[verb for verb, _ in agent.asked] for agent in agents] == [["start"], ["start"]]


async def test_start_that_fails_on_one_node_stops_all() -> None:
    agents = [FakeAgent(answers=STARTED), FakeAgent(answers=FAILED)]
    with pytest.raises(LaunchError, match="n1: cannot start the job: no such file") as caught:
        await started(*map(FakeConnection, agents))
    assert caught.value.message.endswith("\nthe other nodes were stopped again")
    for agent in agents:
        assert [verb for verb, _ in agent.asked] == ["start", "stop", "sweep"]


async def test_start_names_a_node_that_cannot_be_reached_again() -> None:
    with pytest.raises(LaunchError) as caught:
        await started(FakeConnection(FakeAgent(answers=STARTED)), LostConnection())
    assert caught.value.message.endswith("\nprocesses may be left on n1")


async def test_start_names_each_node_with_processes_left() -> None:
    left = {**STARTED, "sweep": {"left": [17]}}
    with pytest.raises(LaunchError) as caught:
        await started(FakeConnection(FakeAgent(answers=left)), LostConnection())
    assert caught.value.message.endswith("\nprocesses may be left on n0, n1")
