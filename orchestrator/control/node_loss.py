"""Decide when a node that cannot be reached counts as failed.

The controller's own connection says little: it may run on a laptop that moves. A node is gone if its
peers, which the controller reaches, get no answer from it on the training network either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.errors import NodeError
from orchestrator.runs.options import silence_timeout

_POLL_INTERVAL = 1.0  # seconds
_PEERS_PER_ROUND = 3  # asked at a time, until one of them has a result
_RESPONSE_TIME = 1.0  # seconds within which the agent of a live node answers
_PROBE_TIMEOUT = 3.0  # seconds: the kernel gives up on ARP in that time
_SSH_PORT = 22
# Results of `node/probe.py`. A refusal also shows that the machine is alive, or a firewall in front of
# it; other results say nothing about the node.
_ANSWERS = ("ok", "refused", "reset", "closed", "silent", "foreign", "prohibited")
_NO_ANSWER = ("timeout", "unreachable", "no-route")


async def watch_nodes(
    nodes: Sequence[Follower],
    main_port: int,
    timeout: float,
    emit: events.Emit,
    on_gone: Callable[[], None],
) -> None:
    """Mark nodes as gone that cannot be reached for `timeout` seconds (0: never), until cancelled.

    The time includes the silence before the connection counted as broken. The other nodes are asked in
    its last seconds, so that they have answered when it ends. `main_port` is probed on the training
    network.
    """
    if timeout == 0:
        return
    interval, probe_timeout = min(_POLL_INTERVAL, timeout / 8), min(_PROBE_TIMEOUT, timeout / 2)

    async def watch(node: Follower, since: float) -> None:
        """Ask about a node without a connection, until it is back or gone."""

        def is_away() -> bool:
            return node.away_since == since and not node.has_ended and node.gone is None

        end = since - silence_timeout(timeout) + timeout
        is_reported = False
        while True:
            await _sleep_until(end - probe_timeout)
            if not is_away():
                return
            peer = await _find_peer(node, nodes, main_port, probe_timeout)
            if peer == "":
                await _sleep_until(end)
                if is_away():
                    node.give_up(
                        f"could not be reached for {timeout:g} s, "
                        "neither from here nor from the other nodes"
                    )
                    on_gone()
                return
            if peer is None:
                await asyncio.sleep(interval)
                continue
            end = time.monotonic() + timeout
            if not is_reported:
                is_reported = True
                message = f"{node.name} cannot be reached from here, but {peer} reaches it"
                emit(events.Warned(f"{message}: the run continues"))

    watched: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        while True:
            for node in nodes:
                if node.away_since is None or node.has_ended or node.gone is not None:
                    continue
                if node.name not in watched or watched[node.name].done():
                    watched[node.name] = tasks.create_task(watch(node, node.away_since))
            await asyncio.sleep(interval)


async def find_lost_nodes(nodes: Sequence[Follower], main_port: int) -> None:
    """Mark nodes as gone that answer neither the controller nor their peers now.

    For use after a failure: if a node vanishes, the ranks of its peers may fail first.
    """
    answers = await asyncio.gather(*(node.responds(_RESPONSE_TIME) for node in nodes))
    responding = dict(zip(nodes, answers, strict=True))
    peers = [node for node in nodes if responding[node]]
    silent = [
        node for node in nodes if not responding[node] and not node.has_ended and node.gone is None
    ]
    found = await asyncio.gather(
        *(_find_peer(node, peers, main_port, _PROBE_TIMEOUT) for node in silent)
    )
    for node, peer in zip(silent, found, strict=True):
        if peer == "":
            node.give_up("vanished: neither orch nor the other nodes reach it")


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _find_peer(
    node: Follower, nodes: Sequence[Follower], main_port: int, timeout: float
) -> str | None:
    """Return the one of `nodes` that reaches `node`, "" if none does, None if none can be asked."""
    address = node.plan.address or node.plan.host.address
    # If the training network lets ranks through, the main port is answered too, at least by a refusal.
    targets = [(address, port, "") for port in (node.plan.host.port or _SSH_PORT, main_port)]
    others = [other for other in nodes if other.away_since is None and other.connection.is_up]

    async def ask(other: Follower) -> str | None:
        try:
            outcomes = await other.connection.agent.ask(
                "probe", limit=3 * timeout, targets=targets, ask="", patience=timeout
            )
            results = [str(outcome["result"]) for outcome in outcomes]
        except (NodeError, KeyError, TypeError, ValueError):
            return None
        if any(result in _ANSWERS for result in results):
            return other.name
        return "" if results and all(result in _NO_ANSWER for result in results) else None

    for first in range(0, len(others), _PEERS_PER_ROUND):
        some = others[first : first + _PEERS_PER_ROUND]
        answers = await asyncio.gather(*(ask(other) for other in some))
        given = [answer for answer in answers if answer is not None]
        if given:
            return next((answer for answer in given if answer), "")
    return None
