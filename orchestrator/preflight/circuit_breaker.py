"""Agents that are asked nothing more once they have not answered in time.

One that is stopped, or whose machine hangs, would else be waited for again in every step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from typing import Any, cast

from orchestrator.errors import NodeError
from orchestrator.remote.agent import Agent, AgentRefusal
from orchestrator.remote.base import Node
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import Report


def circuit_breaker(fleet: Fleet) -> Fleet:
    """Return the same nodes, each of whose agents fails at once after it has failed to answer."""
    same = copy(fleet)
    same.agents = [cast(Agent, _Once(agent)) for agent in fleet.agents]
    return same


class _Once:
    """An agent, but for that; a refusal is an answer."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._failure: NodeError | None = None

    @property
    def node(self) -> Node:
        return self._agent.node

    async def ask(self, verb: str, **more: Any) -> Any:
        self._expect_answer()
        try:
            return await self._agent.ask(verb, **more)
        except NodeError as error:
            self._note(error)
            raise

    @asynccontextmanager
    async def during(self, verb: str, **more: Any) -> AsyncIterator[Any]:
        self._expect_answer()
        async with AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(self._agent.during(verb, **more))
            except NodeError as error:
                self._note(error)
                raise
            yield answer

    def follow(self, run: str, offsets: dict[str, int]) -> AsyncIterator[Report]:
        return self._agent.follow(run, offsets)

    def _expect_answer(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _note(self, error: NodeError) -> None:
        if not isinstance(error, AgentRefusal):
            self._failure = error
