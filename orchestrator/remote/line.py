"""The way to one node over time: its connection and agent, made again after they broke."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from orchestrator.errors import NodeError, OrchError, Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node
from orchestrator.remote.ssh import ConnectOptions, connect_all

_GATHER = 0.05  # seconds: what breaks together is made again together


class Line:
    """The way to `host`, over `dialer`; `agent` is the one at its other end, if there is one now."""

    def __init__(self, host: Host, dialer: Dialer, agent: Agent | None = None) -> None:
        self.host = host
        self._dialer = dialer
        self._agent = agent

    @property
    def is_up(self) -> bool:
        """Whether there is an agent that has not broken off."""
        return self._agent is not None and not self._agent.has_failed

    @property
    def agent(self) -> Agent:
        """The agent on the node. Raises NodeError while there is none."""
        if self._agent is None:
            raise NodeError(f"{self.host.name}: not connected")
        return self._agent

    async def connect(self) -> None:
        """Make the connection and start the agent, anew where there was one. Raises NodeError."""
        await self.close()
        node = await self._dialer.dial(self.host)
        try:
            self._agent = await Agent.open(node)
        except BaseException:
            await node.close()
            raise

    async def close(self) -> None:
        """Hang up; what runs on the node goes on."""
        agent, self._agent = self._agent, None
        if agent is not None:
            with suppress(NodeError, OSError):
                await agent.close()
            await agent.node.close()


class Dialer:
    """Connects to nodes, one by one as they are asked for, but through each gateway only once.

    The limits of handshakes at a time hold within one `connect_all`; so those that ask within a moment
    of each other share one.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self._asked: list[tuple[Host, asyncio.Future[Node | Unreachable]]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def dial(self, host: Host) -> Node:
        """Return a new connection to `host`. Raises NodeError with the verdict."""
        answer: asyncio.Future[Node | Unreachable] = asyncio.get_running_loop().create_future()
        if not self._asked:
            call = asyncio.create_task(self._call())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        self._asked.append((host, answer))
        result = await answer
        if isinstance(result, Unreachable):
            raise NodeError(f"{result.node}: {result.message}", remedy=result.remedy)
        return result

    async def close(self) -> None:
        """Give up what is being connected."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _call(self) -> None:
        await asyncio.sleep(_GATHER)
        asked, self._asked = self._asked, []
        answers = {host.name: answer for host, answer in asked}
        unwanted: list[Node] = []  # who asked for it has gone meanwhile

        def tell(name: str, result: Node | Unreachable, seconds: float) -> None:
            if not answers[name].done():
                answers[name].set_result(result)
            elif not isinstance(result, Unreachable):
                unwanted.append(result)

        try:
            await connect_all([host for host, _ in asked], self._options, on_result=tell)
        except OrchError as error:  # an ssh_config that makes no sense
            for answer in answers.values():
                if not answer.done():
                    answer.set_exception(NodeError(error.message, remedy=error.remedy))
        finally:
            for answer in answers.values():
                answer.cancel()
            await asyncio.gather(*(node.close() for node in unwanted), return_exceptions=True)
