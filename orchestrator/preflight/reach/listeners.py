"""Have orch listen on nodes, for other nodes to try the way."""

from __future__ import annotations

import asyncio
import errno
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import NodeError
from orchestrator.preflight.answers import parsed, text
from orchestrator.preflight.model import Context, NoAnswer, NodeContext
from orchestrator.remote.agent import Agent
from orchestrator.remote.answers import count

_OPEN_TIME = 15.0  # seconds for a node to begin; the others go on listening meanwhile


@dataclass(frozen=True)
class Shut:
    """Why an address could not be listened on, as the operating system says."""

    text: str
    errno: int | None


@dataclass(frozen=True)
class Open:
    """A listener of orch's, as others reach it."""

    address: str
    port: int
    answer: str


Listener = Open | Shut | NoAnswer


class Listeners:
    """orch's listeners on the nodes; they end with the context, all at once.

    Once the last one has begun, or could not, all go on for at least `limit` seconds.

    `ask` is what a peer must know for any of them to answer. Where nobody can tell a node to end one,
    its agent does when the connection breaks.
    """

    def __init__(self, limit: float) -> None:
        self.ask = secrets.token_hex(16)
        self._limit = limit
        self._open: list[AsyncExitStack] = []

    async def __aenter__(self) -> Listeners:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(each.aclose() for each in self._open))

    async def own(self, agent: Agent, node: NodeContext) -> Listener:
        """Listen on a port that the kernel gives, on the node's own address."""
        if node.plan.address is None:
            return NoAnswer("its address on the network of the job is not known")
        return await self._listen(agent, node.plan.address, 0)

    async def main(self, agent: Agent, context: Context) -> Listener:
        """Listen on the main port; where main's address is not its own, on all that are."""
        if trouble := context.trouble.get("net.bind"):
            return Shut(trouble.message, None)
        address, port = context.plan.main_address, context.plan.main_port
        found = await self._listen(agent, address, port)
        if not isinstance(found, Shut) or found.errno != errno.EADDRNOTAVAIL:
            return found
        elsewhere = await self._listen(agent, "0.0.0.0", port)
        return replace(elsewhere, address=address) if isinstance(elsewhere, Open) else elsewhere

    async def _listen(self, agent: Agent, address: str, port: int) -> Listener:
        stack = AsyncExitStack()
        self._open.append(stack)
        answer = secrets.token_hex(16)
        task = agent.during(
            "listen",
            timeout=_OPEN_TIME,
            limit=self._limit + 2 * _OPEN_TIME,  # main may have to begin twice
            addresses=[[address, port]],
            ask=self.ask,
            answer=answer,
        )
        try:
            raw = await stack.enter_async_context(task)
        except NodeError as error:
            return NoAnswer(error.text)

        def listener(raw: Any) -> Listener:
            (found,) = raw["ports"]
            if isinstance(found, int):
                return Open(address, count(found, 65535), answer)
            return Shut(text(found["error"]), int(found["errno"]))

        return parsed(listener, raw)
