"""The connection to one node and its agent, restored after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from orchestrator.errors import LoginRefused, NodeError, NodeGone, OrchError, Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import CONTAINER, GONE, Node, Transport

_REFUSALS = ("host-key-unknown", "host-key-changed", "authentication")
_GATHER = 0.05  # seconds; connections that break together are restored together


class NodeConnection:
    """A connection to `host`, made by `connector`; `agent` is the agent on the host, if it is up."""

    def __init__(self, host: Host, connector: Connector, agent: Agent | None = None) -> None:
        self.host = host
        self._connector = connector
        self._agent = agent

    @property
    def is_up(self) -> bool:
        """Whether the agent is connected and has not failed."""
        return self._agent is not None and not self._agent.has_failed

    @property
    def agent(self) -> Agent:
        """The agent on the node. Raises NodeError if not connected."""
        if self._agent is None:
            raise NodeError(self.host.name, "not connected")
        return self._agent

    async def connect(self) -> None:
        """Connect and start the agent, after closing any earlier connection. Raises NodeError."""
        await self.close()
        node = await self._connector.dial(self.host)
        try:
            self._agent = await Agent.open(node)
        except BaseException:
            await node.close()
            raise

    async def close(self) -> None:
        """Close the connection; processes on the node keep running."""
        agent, self._agent = self._agent, None
        if agent is not None:
            with suppress(NodeError, OSError):
                await agent.close()
            await agent.node.close()


async def close_all(connections: Iterable[NodeConnection]) -> None:
    """Close all `connections` concurrently. Raises the first error."""
    await asyncio.gather(*(each.close() for each in connections))


class Connector:
    """Connects to nodes one by one on request, but through each gateway only once.

    The limit of concurrent handshakes applies within one `Transport.connect_all`, so requests that arrive
    within a short time share one call.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._asked: list[tuple[Host, asyncio.Future[Node | Unreachable]]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def dial(self, host: Host) -> Node:
        """Return a new connection to `host`. Raises NodeError with the verdict.

        No other caller may request a host of the same name meanwhile.
        """
        answer: asyncio.Future[Node | Unreachable] = asyncio.get_running_loop().create_future()
        if not self._asked:
            call = asyncio.create_task(self._call())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        self._asked.append((host, answer))
        try:
            result = await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                await _hang_up(answer.result())  # it was connected just before the cancellation
            raise
        if isinstance(result, Unreachable):
            raise _kind(result)(result.node, result.message, remedy=result.remedy)
        return result

    async def close(self) -> None:
        """Cancel the pending connections."""
        for call in self._calls:
            call.cancel()
        for _, answer in self._asked:
            answer.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _call(self) -> None:
        await asyncio.sleep(_GATHER)
        asked, self._asked = self._asked, []
        answers = {host.name: answer for host, answer in asked}
        hosts = [host for host, answer in asked if not answer.done()]
        unwanted: list[Node | Unreachable] = []  # their callers were cancelled meanwhile

        def tell(name: str, result: Node | Unreachable, seconds: float) -> None:
            if answers[name].done():
                unwanted.append(result)
            else:
                answers[name].set_result(result)

        def fail(error_of: Callable[[str], Exception]) -> None:
            for name, answer in answers.items():
                if not answer.done():
                    answer.set_exception(error_of(name))

        try:
            await self._transport.connect_all(hosts, on_result=tell)
        except OrchError as error:  # an invalid ssh_config
            said, remedy = error.message, error.remedy
            fail(lambda name: NodeError(name, said, remedy=remedy))
        except Exception as error:
            failure = error
            fail(lambda _: failure)
        finally:
            for answer in answers.values():
                answer.cancel()
            await asyncio.gather(*map(_hang_up, unwanted), return_exceptions=True)


def _kind(failure: Unreachable) -> type[NodeError]:
    if failure.cause in (GONE, CONTAINER):
        return NodeGone
    return LoginRefused if failure.cause in _REFUSALS else NodeError


async def _hang_up(result: Node | Unreachable) -> None:
    if not isinstance(result, Unreachable):
        await result.close()
