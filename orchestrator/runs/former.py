"""Nodes that a run has left behind: what still runs there is ended, and its logs are fetched."""

from __future__ import annotations

import asyncio

from orchestrator import events
from orchestrator.plan import NodePlan
from orchestrator.remote.line import Dialer, Line
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.follower import Follower
from orchestrator.runs.record import Record

_REASON = "the run goes on without this node"


class Former:
    """Looks after the former nodes of `record`, whenever they are back, until `close`."""

    def __init__(self, record: Record, options: ConnectOptions, emit: events.Emit) -> None:
        self._record = record
        self._emit = emit
        self._dialer = Dialer(options)
        self._followers: dict[str, Follower] = {}
        self._lines: list[Line] = []
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
        await self._dialer.close()
        await asyncio.gather(*(line.close() for line in self._lines))

    async def _follow(self, node: NodePlan) -> None:
        line = Line(node.host, self._dialer)
        follower = Follower(node, line, self._record, self._hear, lambda: None)
        self._lines.append(line)
        self._followers[node.name] = follower
        await follower.stop(_REASON, 0.0)
        await follower.follow()

    def _hear(self, event: events.Event) -> None:
        """Pass on what it prints; how it is there is nobody's concern any more."""
        if isinstance(event, events.Output):
            self._emit(event)
