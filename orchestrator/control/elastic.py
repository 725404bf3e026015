"""Have an elastic run go on without the nodes that have left it."""

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

_LOOK_EVERY = 0.25  # seconds
_RESTART_INTERVAL = (
    20.0  # seconds that launchers have to notice that another has started its ranks again
)


async def watch_members(
    members: Membership,
    nodes: Sequence[Follower],
    grace: float,
    emit: events.Emit,
    on_news: Callable[[], None],
) -> None:
    """Tell who has left, and have ranks that wait for those started again, until the nodes are told to
    stop. `on_news` is called when the run may be over.
    """
    known = set(members.left)
    told: set[str] = set()  # to stop
    next_restart = 0.0
    while True:
        states = [node.state for node in nodes]
        members.look(states)
        if any(s.stopped_at is not None for s in states if s.name not in members.left):
            return
        for name in [name for name in members.left if name not in known]:
            known.add(name)
            on_news()
            if members.why_over is None:
                staying = len(nodes) - len(members.left)
                emit(events.NodeLeft(name, members.left[name], staying, len(nodes)))
        for node in nodes:
            if node.name in members.left and node.name not in told and not node.has_ended:
                told.add(node.name)  # it may come back, and the others do without it by then
                await node.stop(Stop(StopReason.NODE_LEFT), grace)
        if time.monotonic() >= next_restart and await _restart_a_rank(members, nodes, emit):
            next_restart = time.monotonic() + _RESTART_INTERVAL
            on_news()
        await asyncio.sleep(_LOOK_EVERY)


async def _restart_a_rank(
    members: Membership, nodes: Sequence[Follower], emit: events.Emit
) -> bool:
    """Have one launcher start its ranks again, if any wait in vain: the others notice, and join it."""
    waiting = members.waiting([node.state for node in nodes])
    if not waiting or members.why_over is not None:
        return False
    may_restart = [each for each in waiting if members.may_restart(each[1])]
    if not may_restart:
        members.is_spent = True
        return True
    state, rank = may_restart[0]
    (node,) = (node for node in nodes if node.name == state.name)
    with suppress(NodeError):  # then it is away too; another look comes
        if await node.restart_rank(rank):
            emit(
                events.Warned(
                    f"rank {rank.rank} on {node.name} was ended, so that all ranks begin anew"
                )
            )
    return True
