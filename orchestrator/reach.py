"""Connect to every node and learn what it is."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from orchestrator import events
from orchestrator.errors import ConnectError, LaunchError, NodeError, Unreachable
from orchestrator.phase import Phase
from orchestrator.plan import Facts
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node, ShellError
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import moment


async def reach(fleet: Fleet, emit: events.Emit) -> list[Facts]:
    """Connect to every node of `fleet`, start its agent, and return what it is, in node order.

    Raises ConnectError or LaunchError with the verdict of every node that failed.
    """
    await connect(fleet, emit)
    with Phase("facts", (host.name for host in fleet.hosts), emit):
        await fleet.start_agents()
        return await fleet.each(fleet.agents, learn)


async def reach_some(fleet: Fleet, emit: events.Emit) -> tuple[list[Facts], list[Unreachable]]:
    """Do as `reach`, but leave out of `fleet` the nodes that fail, and return why, beside the facts.

    Both are in node order.
    """
    failures: list[Unreachable] = []
    order = [host.name for host in fleet.hosts]
    try:
        await connect(fleet, emit)
    except ConnectError as error:
        failures.extend(error.failures)
    found: list[tuple[Agent, Facts]] = []
    with Phase("facts", (node.name for node in fleet.nodes), emit) as phase:
        answers = await asyncio.gather(*(_introduce(node, phase) for node in fleet.nodes))
    for answer in answers:
        if isinstance(answer, Unreachable):
            failures.append(answer)
        else:
            found.append(answer)
    await fleet.narrow([agent for agent, _ in found])
    return [facts for _, facts in found], sorted(failures, key=lambda f: order.index(f.node))


async def connect(fleet: Fleet, emit: events.Emit) -> None:
    """Connect to every node of `fleet`. Raises ConnectError with the verdict of each that failed."""
    try:
        with Phase("connect", (host.name for host in fleet.hosts), emit) as phase:
            await fleet.connect(phase.advance)
    finally:
        for warning in fleet.warnings:
            emit(events.Warned(warning))


async def learn(agent: Agent) -> Facts:
    """Ask one node what it is. Raises LaunchError when it does not say so sensibly."""
    asked = time.time()
    raw = await agent.ask("facts")
    answered = time.time()
    try:
        return Facts.parse(
            raw,
            clock_skew=moment(raw["time"]) - (asked + answered) / 2,
            clock_error=(answered - asked) / 2,
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise LaunchError(
            f"{agent.node.name}: its agent's facts make no sense: {error!r}"
        ) from None


async def _introduce(node: Node, phase: Phase) -> tuple[Agent, Facts] | Unreachable:
    """Return a node's agent and what the node is, or why there is neither."""
    answer: tuple[Agent, Facts] | Unreachable
    try:
        agent = await Agent.open(node)
        try:
            answer = agent, await learn(agent)
        except LaunchError:
            with suppress(NodeError):
                await agent.close()
            raise
    except ShellError as error:
        answer = error.verdict
    except LaunchError as error:
        message = error.message.removeprefix(f"{node.name}: ")
        remedy = error.remedy or f"log in and see whether {node.host.python} runs there"
        answer = Unreachable(node.name, "agent", message, remedy)
    phase.advance(node.name, not isinstance(answer, Unreachable))
    return answer
