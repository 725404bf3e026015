"""Nodes that a run no longer uses: stop what still runs there and fetch their logs."""

from __future__ import annotations

import asyncio

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.base import Transport
from orchestrator.remote.connection import Connector, NodeConnection, close_all
from orchestrator.runs.record import Record


class DepartedNodes:
    """Stops and follows the former nodes of `record` whenever they can be reached, until `close`."""

    def __init__(self, record: Record, transport: Transport, emit: events.Emit) -> None:
        self._record = record
        self._emit = emit
        self._connector = Connector(transport)
        self._followers: dict[str, Follower] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def update(self) -> None:
        """Start following nodes that became former nodes since the last call."""
        for node in self._record.former:
            if node.name not in self._followers:
                connection = NodeConnection(node.host, self._connector)
                follower = Follower(node, connection, self._record, self._show, lambda: None)
                self._followers[node.name] = follower
                self._tasks.append(asyncio.create_task(self._follow(follower)))

    @property
    def missing(self) -> tuple[str, ...]:
        """The nodes whose logs are incomplete on this machine."""
        return tuple(name for name, node in self._followers.items() if not node.has_all)

    async def close(self) -> None:
        """Stop following and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connector.close()
        await close_all(node.connection for node in self._followers.values())

    async def _follow(self, follower: Follower) -> None:
        await follower.stop(Stop(StopReason.NODE_REPLACED), 0.0)
        await follower.follow()

    def _show(self, event: events.Event) -> None:
        """Pass on the output of a node; its state no longer matters."""
        if isinstance(event, events.Output):
            self._emit(event)
