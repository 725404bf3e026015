"""Nodes that a run has left behind: what still runs there is ended, and its logs are fetched."""

from __future__ import annotations

import asyncio

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.node.reasons import StopReason
from orchestrator.plan import NodePlan
from orchestrator.reasons import Stop
from orchestrator.remote.base import Transport
from orchestrator.remote.connection import Connector, NodeConnection, close_all
from orchestrator.runs.record import Record


class DepartedNodes:
    """Looks after the former nodes of `record`, whenever they are back, until `close`."""

    def __init__(self, record: Record, transport: Transport, emit: events.Emit) -> None:
        self._record = record
        self._emit = emit
        self._connector = Connector(transport)
        self._followers: dict[str, Follower] = {}
        self._connections: list[NodeConnection] = []
        self._tasks: list[asyncio.Task[None]] = []

    def look_after(self) -> None:
        """Take in the former nodes that there are now."""
        for node in self._record.former:
            if node.name not in self._followers:
                self._tasks.append(asyncio.create_task(self._follow(node)))

    @property
    def missing(self) -> tuple[str, ...]:
        """The nodes of which not all logs are here."""
        return tuple(name for name, node in self._followers.items() if not node.has_all)

    async def close(self) -> None:
        """Leave them alone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connector.close()
        await close_all(self._connections)

    async def _follow(self, node: NodePlan) -> None:
        connection = NodeConnection(node.host, self._connector)
        follower = Follower(node, connection, self._record, self._hear, lambda: None)
        self._connections.append(connection)
        self._followers[node.name] = follower
        await follower.stop(Stop(StopReason.NODE_REPLACED), 0.0)
        await follower.follow()

    def _hear(self, event: events.Event) -> None:
        """Pass on what it prints; how it is there is nobody's concern any more."""
        if isinstance(event, events.Output):
            self._emit(event)
