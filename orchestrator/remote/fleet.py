"""All nodes of one command: connect, start the agents, send requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from orchestrator.errors import LaunchError, Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node, Transport
from orchestrator.remote.connection import Connector, NodeConnection
from orchestrator.remote.grouped_errors import connect_error, grouped_message

T = TypeVar("T")

_MAX_STARTING = 128
"""Agents that start at once: with more, their time would pass while this process reads other answers."""

OnNode = Callable[[str, bool], None]
"""Called with the node's name and whether it succeeded, as each node is done."""


class Fleet:
    """The open connections and agents of `hosts`, in their order, over `transport`."""

    def __init__(self, hosts: Sequence[Host], transport: Transport) -> None:
        self.hosts = tuple(hosts)
        self.transport = transport
        self.nodes: list[Node] = []
        self.agents: list[Agent] = []
        self._starting = asyncio.Semaphore(_MAX_STARTING)

    async def connect(self, on_node: OnNode) -> None:
        """Open one connection to each node.

        Raises ConnectError with the verdict of every failure; `nodes` has those that were connected.
        """
        results = await self.transport.connect_all(
            self.hosts,
            on_result=lambda name, result, _: on_node(name, not isinstance(result, Unreachable)),
        )
        self.nodes = [result for result in results if not isinstance(result, Unreachable)]
        failures = [result for result in results if isinstance(result, Unreachable)]
        if failures:
            raise connect_error(failures, len(self.hosts))

    @property
    def warnings(self) -> list[str]:
        """Warnings for the user about how the nodes were reached, without duplicates."""
        return list(dict.fromkeys(text for node in self.nodes for text in node.warnings))

    async def start_agents(self) -> None:
        """Start the agent on every node. Raises LaunchError with each node's failure."""
        self.agents = await self.each(self.nodes, self.start_agent)

    async def start_agent(self, node: Node) -> Agent:
        """Start the agent on one of the nodes. Raises LaunchError."""
        async with self._starting:
            return await Agent.open(node)

    async def narrow(self, agents: Sequence[Agent]) -> None:
        """Keep only the nodes of these agents; disconnect from the others."""
        kept = {id(agent.node) for agent in agents}
        others = [node for node in self.nodes if id(node) not in kept]
        self.agents = list(agents)
        self.nodes = [agent.node for agent in agents]
        self.hosts = tuple(node.host for node in self.nodes)
        await asyncio.gather(*(node.close() for node in others), return_exceptions=True)

    def connections(self) -> list[NodeConnection]:
        """Hand over the connections and agents; the new owner closes and restores them."""
        connector = Connector(self.transport)
        connections = [NodeConnection(agent.node.host, connector, agent) for agent in self.agents]
        self.nodes, self.agents = [], []
        return connections

    async def ask_all(
        self,
        verb: str,
        arguments: Callable[[int], Mapping[str, Any]] = lambda index: {},
        *,
        timeout: float = 30.0,
    ) -> list[Any]:
        """Return every agent's answer to `verb`; `arguments` returns the arguments for a node's position.

        Raises LaunchError with each node's failure.
        """
        indexed = list(enumerate(self.agents))
        return await self.each(
            indexed, lambda item: item[1].ask(verb, timeout=timeout, **arguments(item[0]))
        )

    async def close(self) -> None:
        """Disconnect from every node; processes there keep running."""
        for agent in self.agents:
            await agent.close()
        await asyncio.gather(*(node.close() for node in self.nodes), return_exceptions=True)

    @staticmethod
    async def each(items: Sequence[T], action: Callable[[T], Awaitable[Any]]) -> list[Any]:
        """Call `action` for all items concurrently and return the results in order.

        Waits for all, so that one node's failure does not hide another's verdict. Raises LaunchError.
        """
        results = await asyncio.gather(*(action(item) for item in items), return_exceptions=True)
        failures: list[LaunchError] = []
        for result in results:
            if isinstance(result, LaunchError):
                failures.append(result)
            elif isinstance(result, BaseException):
                raise result
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise LaunchError(grouped_message(failures))
        return results
