"""The use case: where every rank of a run is now, asked of its nodes directly, beside its controller."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import LaunchError, NodeError, UsageError
from orchestrator.hangs.snapshot import Snapshot, take_snapshot
from orchestrator.hangs.suspects import nodes_by_address
from orchestrator.remote.connection import NodeConnection
from orchestrator.remote.grouped_errors import grouped_message
from orchestrator.runs.connections import connections_to
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.state import state_of

_NODE_TIMEOUT = 20.0  # seconds that a node has


@dataclass(frozen=True)
class Stacks:
    """What the nodes said, and `problems`: by the node's name, why one said nothing.

    `names` are the nodes' by their addresses; `ended` says how ranks ended that are not there any more.
    """

    looks: tuple[Snapshot, ...]
    problems: Mapping[str, str]
    names: Mapping[str, str]
    ended: Mapping[int, str]


async def stacks(saved: SavedRun, *, nodes: frozenset[str] | None = None) -> Stacks:
    """Return where all processes of the run are, on these `nodes` (None: on all).

    Raises UsageError for a run that has ended, LaunchError when no node can be asked.
    """
    if saved.has_ended:
        raise UsageError(
            f"run {saved.run} has ended: {saved.summary}",
            remedy=f"what it printed: orch logs {saved.run}",
        )
    async with connections_to(saved) as (connections, _):
        wanted = [
            (node.name, connection)
            for node, connection in zip(saved.plan.nodes, connections, strict=False)
            if nodes is None or node.name in nodes
        ]
        answers = await asyncio.gather(*(_ask(saved.run, connection) for _, connection in wanted))
    looks: list[Snapshot] = []
    failures: list[NodeError] = []
    problems: dict[str, str] = {}
    for (name, _), answer in zip(wanted, answers, strict=True):
        if isinstance(answer, Snapshot):
            looks.append(answer)
        else:
            failures.append(answer)
            problems[name] = answer.message
    if not looks:
        raise LaunchError(grouped_message(failures))
    return Stacks(tuple(looks), problems, nodes_by_address(saved.plan), _ended(saved))


async def _ask(run: str, connection: NodeConnection) -> Snapshot | NodeError:
    try:
        await connection.connect()
        return await take_snapshot(connection.agent, run, connection.host.name, limit=_NODE_TIMEOUT)
    except NodeError as error:
        return error


def _ended(saved: SavedRun) -> dict[int, str]:
    state = state_of(saved.folder)
    return {
        rank.rank: f"exited with {rank.code}" if rank.signal is None else "was killed"
        for rank in state.ranks.values()
        if rank.ended is not None
    }
