"""Decide when a node that cannot be reached is gone, and with it the run.

That the controller has lost its way to a node says little: a laptop may be on the move. The node is gone
when its peers, which the controller does reach, get no answer from it on the training network either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from orchestrator import events
from orchestrator.errors import NodeError
from orchestrator.runs.follower import Follower

_LOOK_EVERY = 1.0  # seconds
_WITNESSES = 3  # so many other nodes are asked
_PATIENCE = 3.0  # seconds for which they try: the kernel gives ARP up in as many
_SSH_PORT = 22
# Any other answer, a refusal too, comes from a machine that is alive (`node/probe.py` has the words).
_NO_ANSWER = ("timeout", "unreachable", "no-route")


async def mind_links(
    nodes: Sequence[Follower], timeout: float, emit: events.Emit, on_gone: Callable[[], None]
) -> None:
    """Mark each node as gone that nobody reaches for `timeout` seconds (0: never); does not return."""
    if timeout == 0:
        return
    asked_at: dict[str, float] = {}
    while True:
        await asyncio.sleep(min(_LOOK_EVERY, timeout))
        for node in nodes:
            if node.away_since is None or node.has_ended or node.gone is not None:
                continue
            since = max(node.away_since, asked_at.get(node.name, node.away_since))
            if time.monotonic() - since < timeout:
                continue
            heard_by = await _ask_others(node, nodes)
            if heard_by is None:
                continue
            if heard_by == "":
                node.gone = (
                    f"could not be reached for {time.monotonic() - node.away_since:.0f} s, "
                    "neither from here nor from the other nodes"
                )
                on_gone()
            else:
                if node.name not in asked_at:
                    message = f"{node.name} cannot be reached from here, but {heard_by} reaches it"
                    emit(events.Warned(f"{message}: the run goes on"))
                asked_at[node.name] = time.monotonic()


async def _ask_others(node: Follower, nodes: Sequence[Follower]) -> str | None:
    """Return which other node reaches `node`, "" if none does, None when there is none to ask."""
    address = node.plan.address or node.plan.host.address
    target = (address, node.plan.host.port or _SSH_PORT, "")
    others = [other for other in nodes if other.away_since is None and other.line.is_up]

    async def ask(other: Follower) -> str | None:
        try:
            (outcome,) = await other.line.agent.ask(
                "probe", limit=3 * _PATIENCE, targets=[target], ask="", patience=_PATIENCE
            )
            result = outcome["result"]
        except (NodeError, KeyError, TypeError, ValueError):
            return None
        if result == "error":
            return None
        return "" if result in _NO_ANSWER else other.name

    answers = await asyncio.gather(*(ask(other) for other in others[:_WITNESSES]))
    given = [answer for answer in answers if answer is not None]
    return next((answer for answer in given if answer), "") if given else None
