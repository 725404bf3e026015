"""Listeners of orch on nodes stay open while another node does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from orchestrator.errors import NodeError
from orchestrator.preflight.model import NoAnswer
from orchestrator.preflight.reach.listeners import Listener, Listeners
from orchestrator.remote.agent import Agent

from ..contexts import make_context


class Listening:
    """An agent that listens, or is silent; `asked` is with what it was asked."""

    def __init__(self, *, silent: bool = False) -> None:
        self.node = make_context(1).plan.nodes[0]
        self.asked: dict[str, Any] = {}
        self._silent = silent

    @asynccontextmanager
    async def run_task(self, verb: str, **asked: Any) -> AsyncIterator[Any]:
        self.asked = asked
        if self._silent:
            raise NodeError("node0", "no answer")
        yield {"ports": [40000]}


async def test_listeners_stay_open_while_another_node_does_not_answer() -> None:
    well, silent = Listening(), Listening(silent=True)
    (node,) = make_context(1).nodes
    async with Listeners(26.0) as listeners:
        assert isinstance(await listeners.own(cast(Agent, well), node), Listener)
        assert isinstance(await listeners.own(cast(Agent, silent), node), NoAnswer)
    # This is left for the first, even if the last answers as late as it may (main may be asked twice).
    assert well.asked["limit"] - 2 * well.asked["timeout"] >= 26.0
