"""The connections to the nodes of a run, as its record names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.remote.base import Transport
from orchestrator.remote.connection import Connector, NodeConnection
from orchestrator.remote.transports import restore
from orchestrator.runs.options import watchful
from orchestrator.runs.saved_run import SavedRun
from orchestrator.util.closing import close_all


@dataclass(frozen=True)
class Connections:
    """How a run's nodes are reached: the way to each that has or had a share of it, in node order.

    None is connected yet.
    """

    lines: list[NodeConnection]
    transport: Transport


@asynccontextmanager
async def connections_to(saved: SavedRun) -> AsyncIterator[Connections]:
    """Give the ways to the run's nodes; they are closed when the context ends.

    Raises LaunchError where its transport cannot be had on this machine.
    """
    async with restore(saved.settings.transport) as transport:
        watching = watchful(transport, saved.settings.node_timeout)
        connector = Connector(watching)
        lines = [NodeConnection(node.host, connector) for node in saved.nodes]
        try:
            yield Connections(lines, watching)
        finally:
            await connector.close()
            await close_all(lines)
