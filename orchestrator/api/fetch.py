"""The use case: bring what a run has written in its working folders to this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator import events
from orchestrator.control.results import FetchOptions, FetchResult, RunWorkdir, fetch_from
from orchestrator.pipeline.transport_needs import require_files
from orchestrator.runs.connections import connections_to
from orchestrator.runs.saved_run import SavedRun
from orchestrator.sync.patterns import check_patterns

_AT_ONCE = 8  # nodes


async def fetch(
    saved: SavedRun,
    to: Path,
    wanted: FetchOptions,
    emit: events.Emit,
    *,
    nodes: frozenset[str] | None = None,
) -> list[FetchResult]:
    """Bring the files of `nodes` to the folder `to`, those of each into a folder with its name.

    None: those of main, straight into `to`. It does not matter whether the run goes on, or who watches
    it. One result a node, in node order; of one that cannot be reached it says why. Raises UsageError for
    a pattern that means nothing, or a transport that carries no files.
    """
    check_patterns(wanted.patterns)
    gate = asyncio.Semaphore(_AT_ONCE)
    async with connections_to(saved) as (connections, transport):
        require_files(transport, "orch fetch", "copy them as you reach the nodes otherwise")

        async def one(index: int) -> FetchResult:
            node = saved.nodes[index]
            folder = to if nodes is None else to / node.name
            work = RunWorkdir.of(saved.run, node, saved.began, saved.settings)
            async with gate:
                return await fetch_from(connections[index], work, folder, wanted, emit)

        meant = [
            index
            for index, node in enumerate(saved.nodes)
            if (index == 0 if nodes is None else node.name in nodes)
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index)) for index in meant]
        return [task.result() for task in tasks]
