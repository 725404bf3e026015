"""Keep the agents of a run answering: renew the lease of each node, replace an agent that hangs."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from orchestrator.control.follower import Follower
from orchestrator.errors import NodeError

_ASK_INTERVAL = 3.0  # seconds between questions to a silent agent, and for each answer
_MIN_SILENCE = 12.0  # seconds an agent may always be silent, since it may be busy


async def renew_lease(node: Follower, lease: float) -> None:
    """Report to the node, well within the `lease` (seconds), that the run has a controller.

    Runs until cancelled, as one task per node: a node that hangs must not let other leases expire.
    """
    while True:
        with suppress(NodeError):  # `follow` handles lost connections
            await node.ask("heard")
        await asyncio.sleep(lease / 4)


async def replace_silent_agent(node: Follower, patience: float) -> None:
    """Abandon an agent that does not answer for `patience` seconds; `follow` starts another.

    Waits for `_MIN_SILENCE` only once the node is asked to stop. Runs until cancelled. The connection
    itself does not show that an agent hangs, since sshd answers for itself.
    """
    unanswered = 0
    while True:
        await asyncio.sleep(_ASK_INTERVAL)
        if not node.connection.is_up or node.has_ended:
            unanswered = 0
            continue
        agent = node.connection.agent
        limit = _MIN_SILENCE if node.stop_request is not None else max(patience, _MIN_SILENCE)
        if time.monotonic() - agent.heard_at < limit / 2:
            unanswered = 0
            continue
        # Twice: after a suspension of this process, the first answer may come too late.
        unanswered = 0 if await node.responds(_ASK_INTERVAL) else unanswered + 1
        silent_for = time.monotonic() - agent.heard_at
        if unanswered >= 2 and silent_for >= limit:
            await agent.abandon(f"the agent has not answered for {silent_for:.0f} s")
