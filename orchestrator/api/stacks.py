"""The use case: show where every rank of a run is now; asks the nodes without the controller."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.api.selection import nodes_of, ranks_of
from orchestrator.errors import LaunchError, NodeError, UsageError
from orchestrator.hangs.snapshot import Snapshot, take_snapshot
from orchestrator.hangs.suspects import nodes_by_address
from orchestrator.remote.connection import NodeConnection
from orchestrator.remote.grouped_errors import grouped_message
from orchestrator.runs.connections import connections_to
from orchestrator.runs.saved_run import SavedRun
from orchestrator.runs.state import state_of

_NODE_TIMEOUT = 20.0  # seconds for the answer of a node


@dataclass(frozen=True)
class Stacks:
    """What the nodes of a run answered, and `problems`: why a node did not answer, by name.

    `names` are the nodes' names by address; `ended` is how the ranks ended that no longer run.
    """

    run: str
    snapshots: tuple[Snapshot, ...]
    problems: Mapping[str, str]
    names: Mapping[str, str]
    ended: Mapping[int, str]


async def stacks(saved: SavedRun, *, rank: str | None = None, nodes: str | None = None) -> Stacks:
    """Return where all processes of the run are; `rank` and `nodes` are the options as typed.

    Raises UsageError if the run has ended, LaunchError if no node can be asked.
    """
    ranks, chosen = ranks_of(saved.plan, rank), nodes_of(saved.plan, nodes)
    if ranks is not None and saved.plan.elastic is None:  # otherwise any node may have them now
        hosting = {n.name for n in saved.plan.nodes if any(each in ranks for each in n.ranks)}
        chosen = frozenset(hosting if chosen is None else hosting & chosen)
    if saved.has_ended:
        raise UsageError(
            f"run {saved.run} has ended: {saved.summary}",
            remedy=f"what it printed: orch logs {saved.run}",
        )
    async with connections_to(saved) as (connections, _):
        answers = await asyncio.gather(
            *(
                _ask(saved.run, connection)
                for node, connection in zip(saved.plan.nodes, connections, strict=False)
                if chosen is None or node.name in chosen
            )
        )
    failures = [answer for answer in answers if isinstance(answer, NodeError)]
    looks = [answer for answer in answers if isinstance(answer, Snapshot)]
    if not looks:
        raise LaunchError(grouped_message(failures))
    if ranks is not None:
        looks = [
            replace(look, processes=tuple(p for p in look.processes if p.rank in ranks))
            for look in looks
        ]
    problems = {error.node: error.message for error in failures}
    return Stacks(saved.run, tuple(looks), problems, nodes_by_address(saved.plan), _ended(saved))


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
