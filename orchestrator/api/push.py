"""The use case: copy files from this machine to the working folders of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator import events
from orchestrator.api.selection import nodes_of
from orchestrator.errors import NodeError, SyncError
from orchestrator.pipeline.transport_needs import require_files
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.connections import connections_to
from orchestrator.runs.saved_run import SavedRun
from orchestrator.sync import Progress, Pushed, push_all
from orchestrator.sync.named import named_tree


async def push(
    saved: SavedRun,
    root: Path,
    paths: Sequence[Path],
    emit: events.Emit,
    *,
    nodes: str | None = None,
    overwrite: bool = False,
) -> list[Pushed | SyncError | NodeError]:
    """Copy `paths`, below the folder `root`, to the same places below the run's working folders.

    `nodes` selects the nodes (None: all). A file that is newer there stays unless `overwrite`. Returns a
    result for each node, in node order. Raises UsageError for a path that does not exist, or a transport
    that cannot copy files.
    """
    chosen = nodes_of(saved.plan, nodes)
    tree = await asyncio.to_thread(named_tree, root, paths)

    def advance(progress: Progress) -> None:
        emit(events.SyncAdvanced(progress.node, progress.sent, progress.total))

    async def connect(connection: NodeConnection) -> NodeError | None:
        try:
            await connection.connect()
        except NodeError as error:
            return error
        return None

    async with connections_to(saved) as (connections, transport):
        require_files(transport, "orch push", "copy them as you reach the nodes otherwise")
        targets = [
            (node, connection)
            for node, connection in zip(saved.plan.nodes, connections, strict=False)
            if chosen is None or node.name in chosen
        ]
        problems = await asyncio.gather(*(connect(connection) for _, connection in targets))
        reached = [
            (connection.agent.node, node.workdir, tree)
            for (node, connection), problem in zip(targets, problems, strict=True)
            if problem is None
        ]
        pushed = iter(await push_all(reached, on_progress=advance, update=not overwrite))
        return [problem or next(pushed) for problem in problems]
