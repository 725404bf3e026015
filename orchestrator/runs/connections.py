"""The connections to the nodes of a run, as its record names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.remote.base import Transport
from orchestrator.remote.connection import Connector, NodeConnection, close_all
from orchestrator.remote.transports import restore
from orchestrator.runs.options import with_silence_timeout
from orchestrator.runs.saved_run import SavedRun


@asynccontextmanager
async def connections_to(saved: SavedRun) -> AsyncIterator[tuple[list[NodeConnection], Transport]]:
    """Return a connection to each node that takes or took part in the run, in node order, and the
    transport that they use.

    They are not connected yet, and are closed when the context ends. Raises LaunchError if the transport is
    not available on this machine.
    """
    async with restore(saved.settings.transport) as restored:
        transport = with_silence_timeout(restored, saved.settings.node_timeout)
        connector = Connector(transport)
        connections = [NodeConnection(node.host, connector) for node in saved.nodes]
        try:
            yield connections, transport
        finally:
            await connector.close()
            await close_all(connections)
