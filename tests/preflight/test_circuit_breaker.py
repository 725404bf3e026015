"""A node that does not answer is waited for once, not in every step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import NodeError
from orchestrator.preflight.circuit_breaker import circuit_breaker
from orchestrator.remote.agent import Agent, AgentRefusal
from orchestrator.remote.fleet import Fleet
from tests.remote.fake import FakeTransport

STOPPED = NodeError("node0", "no answer to 'check' within 70 s")
REFUSED = AgentRefusal("node0", "there is no such folder", 2)


class Node:
    """An agent that answers or raises this; `asked` are the verbs of its requests."""

    node = SimpleNamespace(name="node0")

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[str] = []

    async def ask(self, verb: str, **more: Any) -> Any:
        self.asked.append(verb)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    @asynccontextmanager
    async def run_task(self, verb: str, **more: Any) -> AsyncIterator[Any]:
        yield await self.ask(verb)


def agent_of(node: Any) -> Agent:
    fleet = Fleet([], FakeTransport())
    fleet.agents = [node]
    (agent,) = circuit_breaker(fleet).agents
    assert fleet.agents == [node], "the given fleet is unchanged"
    assert agent.node is node.node
    return agent


async def listen(agent: Agent) -> Any:
    async with agent.run_task("listen", limit=1.0) as answer:
        return answer


async def test_agent_that_answers_is_asked_every_time() -> None:
    node = Node("fine")
    agent = agent_of(node)
    assert [await agent.ask("check"), await listen(agent), await agent.ask("path")] == ["fine"] * 3
    assert node.asked == ["check", "listen", "path"]


async def test_agent_that_did_not_answer_fails_at_once() -> None:
    node = Node(STOPPED)
    agent = agent_of(node)
    for _ in range(2):
        with pytest.raises(NodeError, match="within 70 s"):
            await agent.ask("check")
    with pytest.raises(NodeError, match="within 70 s"):
        await listen(agent)
    assert node.asked == ["check"]


async def test_agent_that_did_not_start_to_listen_is_not_asked_again() -> None:
    node = Node(STOPPED)
    agent = agent_of(node)
    for attempt in (listen(agent), agent.ask("check")):
        with pytest.raises(NodeError, match="within 70 s"):
            await attempt
    assert node.asked == ["listen"]


async def test_agent_that_refuses_is_asked_again() -> None:
    node = Node(REFUSED)
    agent = agent_of(node)
    for _ in range(2):
        with pytest.raises(AgentRefusal):
            await agent.ask("prepare")
        with pytest.raises(AgentRefusal):
            await listen(agent)
    assert node.asked == ["prepare", "listen"] * 2


async def test_error_while_an_agent_listens_does_not_count_against_it() -> None:
    node = Node("fine")
    agent = agent_of(node)
    with pytest.raises(NodeError, match="node1"):
        async with agent.run_task("listen", limit=1.0):
            raise NodeError("node1", "has gone")
    assert await agent.ask("check") == "fine"
