"""Decide when a node that cannot be reached is gone, and with it the run.

That the controller has lost its way to a node says little: a laptop may be on the move. The node is gone
when its peers, which the controller does reach, get no answer from it on the training network either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.errors import NodeError
from orchestrator.runs.options import silence_timeout

_LOOK_EVERY = 1.0  # seconds
_WITNESSES = 3  # so many other nodes are asked at a time, until one of them has an opinion
_ANSWER_TIME = 1.0  # seconds within which a node answers that is there, and not very busy
_PROBE_TIMEOUT = 3.0  # seconds for which they try: the kernel gives ARP up in as many
_SSH_PORT = 22
# As `node/probe.py` words them. A refusal, too, comes from a machine that is alive, or from a firewall
# that speaks for it; the rest says nothing of the node.
_ANSWERS = ("ok", "refused", "reset", "closed", "silent", "foreign", "prohibited")
_NO_ANSWER = ("timeout", "unreachable", "no-route")


async def watch_nodes(
    nodes: Sequence[Follower],
    main_port: int,
    timeout: float,
    emit: events.Emit,
    on_gone: Callable[[], None],
) -> None:
    """Mark each node as gone that nobody reaches for `timeout` seconds (0: never); does not return.

    Its connection was silent for a part of that before it counted as broken. The other nodes are asked
    in the last seconds of it, so that they have answered when it is over. `main_port` is a port of the
    training network.
    """
    if timeout == 0:
        return
    look_every, patience = min(_LOOK_EVERY, timeout / 8), min(_PROBE_TIMEOUT, timeout / 2)

    async def watch(node: Follower, since: float) -> None:
        """Ask about a node that is away, until it is back, or gone."""

        def is_away() -> bool:
            return node.away_since == since and not node.has_ended and node.gone is None

        end = since - silence_timeout(timeout) + timeout
        was_told = False
        while True:
            await _sleep_until(end - patience)
            if not is_away():
                return
            heard_by = await _ask_others(node, nodes, main_port, patience)
            if heard_by == "":
                await _sleep_until(end)
                if is_away():
                    node.give_up(
                        f"could not be reached for {timeout:g} s, "
                        "neither from here nor from the other nodes"
                    )
                    on_gone()
                return
            if heard_by is None:
                await asyncio.sleep(look_every)
                continue
            end = time.monotonic() + timeout
            if not was_told:
                was_told = True
                message = f"{node.name} cannot be reached from here, but {heard_by} reaches it"
                emit(events.Warned(f"{message}: the run goes on"))

    watched: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        while True:
            for node in nodes:
                if node.away_since is None or node.has_ended or node.gone is not None:
                    continue
                if node.name not in watched or watched[node.name].done():
                    watched[node.name] = tasks.create_task(watch(node, node.away_since))
            await asyncio.sleep(look_every)


async def find_lost_nodes(nodes: Sequence[Follower], main_port: int) -> None:
    """Mark as gone each node that does not answer now, and that its peers do not reach either.

    For when something has failed: when a node vanishes, its peers' ranks may be the first to say so.
    """
    heard = await asyncio.gather(*(node.answers(_ANSWER_TIME) for node in nodes))
    silent = [
        node
        for node, is_heard in zip(nodes, heard, strict=True)
        if not is_heard and not node.has_ended and node.gone is None
    ]
    others = [node for node, is_heard in zip(nodes, heard, strict=True) if is_heard]
    answers = await asyncio.gather(
        *(_ask_others(node, others, main_port, _PROBE_TIMEOUT) for node in silent)
    )
    for node, heard_by in zip(silent, answers, strict=True):
        if heard_by == "":
            node.give_up("vanished: neither orch nor the other nodes reach it")


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _ask_others(
    node: Follower, nodes: Sequence[Follower], main_port: int, patience: float
) -> str | None:
    """Return which other node reaches `node`, "" if none does, None when there is none to ask."""
    address = node.plan.address or node.plan.host.address
    # Where the training network lets ranks through, the second is answered too, if by a refusal.
    targets = [(address, port, "") for port in (node.plan.host.port or _SSH_PORT, main_port)]
    others = [other for other in nodes if other.away_since is None and other.connection.is_up]

    async def ask(other: Follower) -> str | None:
        try:
            outcomes = await other.connection.agent.ask(
                "probe", limit=3 * patience, targets=targets, ask="", patience=patience
            )
            results = [str(outcome["result"]) for outcome in outcomes]
        except (NodeError, KeyError, TypeError, ValueError):
            return None
        if any(result in _ANSWERS for result in results):
            return other.name
        return "" if results and all(result in _NO_ANSWER for result in results) else None

    for first in range(0, len(others), _WITNESSES):
        some = others[first : first + _WITNESSES]
        answers = await asyncio.gather(*(ask(other) for other in some))
        given = [answer for answer in answers if answer is not None]
        if given:
            return next((answer for answer in given if answer), "")
    return None
