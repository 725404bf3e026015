"""The use case: copy files that a run has written on its nodes to this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator import events
from orchestrator.api.selection import nodes_of
from orchestrator.control.results import FetchOptions, FetchResult, RunWorkdir, fetch_from
from orchestrator.errors import UsageError
from orchestrator.pipeline.transport_needs import require_files
from orchestrator.runs.connections import connections_to
from orchestrator.runs.saved_run import SavedRun
from orchestrator.sync.patterns import check_patterns

_MAX_NODES_AT_ONCE = 8


async def fetch(
    saved: SavedRun,
    patterns: Sequence[str],
    emit: events.Emit,
    *,
    to: str | Path | None = None,
    nodes: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> list[FetchResult]:
    """Copy the files that match the `patterns` (none: all) to the folder `to` (None: `./RUN`).

    Files of the main node go directly into `to`; files of `nodes` each go into a folder in `to` named after
    the node. The run may still be active. Returns a result for each node, in node order, with any problem.
    Raises UsageError for invalid patterns, nodes or folders, or a transport that cannot copy files.
    """
    wanted = FetchOptions(tuple(patterns), overwrite, dry_run)
    check_patterns(wanted.patterns)
    chosen = nodes_of(saved.plan, nodes, saved.former)
    target = _target(to or saved.run)
    gate = asyncio.Semaphore(_MAX_NODES_AT_ONCE)
    async with connections_to(saved) as (connections, transport):
        require_files(transport, "orch fetch", "copy them as you reach the nodes otherwise")

        async def one(index: int) -> FetchResult:
            node = saved.nodes[index]
            folder = target if chosen is None else target / node.name
            work = RunWorkdir.of(saved.run, node, saved.began, saved.settings)
            async with gate:
                return await fetch_from(connections[index], work, folder, wanted, emit)

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(one(index))
                for index, node in enumerate(saved.nodes)
                if (index == 0 if chosen is None else node.name in chosen)
            ]
        return [task.result() for task in tasks]


def _target(folder: str | Path) -> Path:
    target = Path(folder).absolute()
    if target.exists() and not target.is_dir():
        raise UsageError(f"--to {folder}: not a folder")
    return target
