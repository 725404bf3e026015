"""Agents that are not asked again once they have not answered in time.

Every step would otherwise wait again for one that is stopped, or whose machine hangs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from copy import copy
from typing import Any, cast

from orchestrator.errors import NodeError
from orchestrator.remote.agent import Agent, AgentRefusal
from orchestrator.remote.base import Node
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import Report


def circuit_breaker(fleet: Fleet) -> Fleet:
    """Return the same nodes, with agents that fail at once after they have failed to answer."""
    same = copy(fleet)
    same.agents = [cast(Agent, _CircuitBreaker(agent)) for agent in fleet.agents]
    return same


class _CircuitBreaker:
    """An agent that repeats its first failure; a refusal is an answer, not a failure."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._failure: NodeError | None = None

    @property
    def node(self) -> Node:
        return self._agent.node

    async def ask(self, verb: str, **more: Any) -> Any:
        with self._once():
            return await self._agent.ask(verb, **more)

    @asynccontextmanager
    async def run_task(self, verb: str, **more: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            with self._once():
                answer = await stack.enter_async_context(self._agent.run_task(verb, **more))
            yield answer

    def follow(self, run: str, offsets: dict[str, int]) -> AsyncIterator[Report]:
        return self._agent.follow(run, offsets)

    @contextmanager
    def _once(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except AgentRefusal:
            raise
        except NodeError as error:
            self._failure = error
            raise
