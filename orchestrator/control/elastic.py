"""Let an elastic run continue without the nodes that have left it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.control.membership import Membership
from orchestrator.errors import NodeError
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.reports import RankReport

_POLL_INTERVAL = 0.25  # seconds
# Seconds in which launchers notice that another one has restarted its ranks.
_RESTART_INTERVAL = 20.0


async def watch_members(
    members: Membership,
    nodes: Sequence[Follower],
    grace: float,
    emit: events.Emit,
    on_change: Callable[[], None],
) -> None:
    """Report nodes that leave and restart ranks that wait for them, until the nodes are stopped.

    `on_change` is called when the run may be over.
    """
    known = set(members.left)
    stopped: set[str] = set()
    next_restart = 0.0
    while True:
        states = [node.state for node in nodes]
        members.update(states)
        if any(s.stopped_at is not None for s in states if s.name not in members.left):
            return
        for name in [name for name in members.left if name not in known]:
            known.add(name)
            on_change()
            if members.why_over is None:
                staying = len(nodes) - len(members.left)
                emit(events.NodeLeft(name, members.left[name], staying, len(nodes)))
        for node in nodes:
            if node.name in members.left and node.name not in stopped and not node.has_ended:
                stopped.add(node.name)  # it may come back after the others have continued
                await node.stop(Stop(StopReason.NODE_LEFT), grace)
        if time.monotonic() >= next_restart and await _restart_a_rank(members, nodes, emit):
            next_restart = time.monotonic() + _RESTART_INTERVAL
            on_change()
        await asyncio.sleep(_POLL_INTERVAL)


async def _restart_a_rank(
    members: Membership, nodes: Sequence[Follower], emit: events.Emit
) -> bool:
    """Make one launcher restart its ranks, if any wait for lost nodes: the others notice and join it.

    Returns whether anything was done.
    """
    waiting = members.waiting([node.state for node in nodes])
    if not waiting or members.why_over is not None:
        return False
    may_restart = [each for each in waiting if members.may_restart(each[1])]
    if not may_restart:
        members.is_spent = True
        return True
    state, rank = may_restart[0]
    (node,) = (node for node in nodes if node.name == state.name)
    with suppress(NodeError):  # the node is lost too; the next poll handles that
        if await _restart_rank(node, rank):
            emit(events.Warned(f"rank {rank.rank} on {node.name} was killed to restart all ranks"))
    return True


async def _restart_rank(node: Follower, rank: RankReport) -> bool:
    """Kill a rank, so that its launcher restarts all ranks of the node; return whether it was alive.

    Raises NodeError.
    """
    answer = await node.ask("restart_rank", attempt=rank.attempt, rank=rank.rank, pid=rank.pid)
    return bool(answer == {"ended": True})
