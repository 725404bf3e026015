"""Connect to every node and learn what it is."""

from __future__ import annotations

import time

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.phase import Phase
from orchestrator.plan import Facts
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet


async def reach(fleet: Fleet, emit: events.Emit) -> list[Facts]:
    """Connect to every node of `fleet`, start its agent, and return what it is, in node order.

    Raises ConnectError or LaunchError with the verdict of every node that failed.
    """
    await connect(fleet, emit)
    with Phase("facts", (host.name for host in fleet.hosts), emit):
        await fleet.start_agents()
        return await fleet.each(fleet.agents, learn)


async def connect(fleet: Fleet, emit: events.Emit) -> None:
    """Connect to every node of `fleet`. Raises ConnectError with the verdict of each that failed."""
    with Phase("connect", (host.name for host in fleet.hosts), emit) as phase:
        await fleet.connect(phase.advance)
    for warning in fleet.warnings:
        emit(events.Warned(warning))


async def learn(agent: Agent) -> Facts:
    """Ask one node what it is. Raises LaunchError when it does not say so sensibly."""
    asked = time.time()
    raw = await agent.ask("facts")
    midpoint = (asked + time.time()) / 2
    try:
        return Facts.parse(raw, clock_skew=float(raw["time"]) - midpoint)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise LaunchError(
            f"{agent.node.name}: its agent's facts make no sense: {error!r}"
        ) from None
