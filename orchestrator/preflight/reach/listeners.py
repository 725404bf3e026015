"""Listeners of orch on nodes, which other nodes try to connect to."""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orchestrator.errors import NodeError
from orchestrator.preflight.answers import parsed, text
from orchestrator.preflight.model import Advance, Context, NoAnswer, NodeContext
from orchestrator.remote.agent import Agent
from orchestrator.util.answers import count

W = TypeVar("W")
R = TypeVar("R")

_START_TIMEOUT = 15.0  # seconds for one node; the listeners of the others stay open meanwhile


@dataclass(frozen=True)
class Listener:
    """A listener of orch, as other nodes reach it; `answer` proves that it is this one."""

    address: str
    port: int
    answer: str


@dataclass(frozen=True)
class CannotListen(NoAnswer):
    """Why the operating system refused to listen on an address."""

    errno: int


class Listeners:
    """orch's listeners on the nodes; they all end with the context.

    Once the last one has started, or has failed to, all stay open for at least `limit` seconds.

    `ask` is what a peer must send for any of them to answer. If a node cannot be reached to end one,
    its agent ends it when the connection breaks.
    """

    def __init__(self, limit: float) -> None:
        self.ask = secrets.token_hex(16)
        self._limit = limit
        self._open: list[AsyncExitStack] = []

    async def __aenter__(self) -> Listeners:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(each.aclose() for each in self._open))

    async def own(self, agent: Agent, node: NodeContext) -> Listener | NoAnswer:
        """Listen on a port that the kernel chooses, on the node's own address."""
        if node.plan.address is None:
            return NoAnswer("its address on the network of the job is not known")
        return await self._listen(agent, node.plan.address, 0)

    async def main(self, agent: Agent, context: Context) -> Listener | NoAnswer:
        """Listen on the main port; if main's address is not its own, on all that are."""
        if trouble := context.trouble.get("net.bind"):
            return NoAnswer(trouble.message)
        address, port = context.plan.main_address, context.plan.main_port
        found = await self._listen(agent, address, port)
        if not isinstance(found, CannotListen) or found.errno != errno.EADDRNOTAVAIL:
            return found
        on_all = await self._listen(agent, "0.0.0.0", port)
        return replace(on_all, address=address) if isinstance(on_all, Listener) else on_all

    async def _listen(self, agent: Agent, address: str, port: int) -> Listener | NoAnswer:
        stack = AsyncExitStack()
        self._open.append(stack)
        answer = secrets.token_hex(16)
        task = agent.run_task(
            "listen",
            timeout=_START_TIMEOUT,
            limit=self._limit + 2 * _START_TIMEOUT,  # main may have to start twice
            addresses=[[address, port]],
            ask=self.ask,
            answer=answer,
        )
        try:
            raw = await stack.enter_async_context(task)
        except NodeError as error:
            return NoAnswer(error.text)

        def listener(raw: Any) -> Listener | NoAnswer:
            (found,) = raw["ports"]
            if isinstance(found, int):
                return Listener(address, count(found, 65535), answer)
            return CannotListen(text(found["error"]), int(found["errno"]))

        return parsed(listener, raw)


async def try_from_each(
    names: Sequence[str],
    listeners: Sequence[Listener | NoAnswer],
    attempt: Callable[[int], Awaitable[Mapping[W, R] | NoAnswer]],
    advance: Advance,
) -> tuple[dict[W, R], dict[int, NoAnswer]]:
    """Have each node that listens connect to others: `attempt` returns its results.

    Returns the results of all, and why some nodes have none, by position.
    """

    async def results(index: int, listener: Listener | NoAnswer) -> Mapping[W, R] | NoAnswer:
        if isinstance(listener, NoAnswer):
            return listener
        found = await attempt(index)
        advance(names[index], not isinstance(found, NoAnswer))
        return found

    found = await asyncio.gather(*(results(*each) for each in enumerate(listeners)))
    silent = {index: each for index, each in enumerate(found) if isinstance(each, NoAnswer)}
    answered = (each for each in found if not isinstance(each, NoAnswer))
    return {way: result for each in answered for way, result in each.items()}, silent
