"""Connect to every node and gather its facts."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from orchestrator import events
from orchestrator.errors import ConnectError, LaunchError, NodeError, Unreachable
from orchestrator.pipeline.phase import Phase
from orchestrator.plan import Facts
from orchestrator.plan.launchers import registry
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node, ShellError
from orchestrator.remote.fleet import Fleet
from orchestrator.util.answers import parse_answer, timestamp


async def connect_all(fleet: Fleet, emit: events.Emit) -> list[Facts]:
    """Connect to every node of `fleet`, start its agent, and return the facts in node order.

    Raises ConnectError or LaunchError with the error of every node that failed.
    """
    await connect(fleet, emit)
    with Phase("facts", (host.name for host in fleet.hosts), emit):
        await fleet.start_agents()
        return await fleet.each(fleet.agents, gather_facts)


async def connect_available(
    fleet: Fleet, emit: events.Emit
) -> tuple[list[Facts], list[Unreachable]]:
    """Like `connect_all`, but remove nodes that fail from `fleet`, and return their errors with the facts.

    Both are in node order.
    """
    failures: list[Unreachable] = []
    order = [host.name for host in fleet.hosts]
    try:
        await connect(fleet, emit)
    except ConnectError as error:
        failures.extend(error.failures)
    with Phase("facts", (node.name for node in fleet.nodes), emit) as phase:
        answers = await asyncio.gather(*(_introduce(fleet, node, phase) for node in fleet.nodes))
    failures += [answer for answer in answers if isinstance(answer, Unreachable)]
    found = [answer for answer in answers if not isinstance(answer, Unreachable)]
    await fleet.narrow([agent for agent, _ in found])
    return [facts for _, facts in found], sorted(failures, key=lambda f: order.index(f.node))


async def connect(fleet: Fleet, emit: events.Emit) -> None:
    """Connect to every node of `fleet`. Raises ConnectError with the error of each that failed."""
    try:
        with Phase("connect", (host.name for host in fleet.hosts), emit) as phase:
            await fleet.connect(phase.advance)
    finally:
        for warning in fleet.warnings:
            emit(events.Warned(warning))


async def warn_of_broken_launchers(emit: events.Emit) -> None:
    """Load the launchers of other packages, and warn about those that cannot be used."""
    for warning in await asyncio.to_thread(registry.left_out):
        emit(events.Warned(warning))


async def gather_facts(agent: Agent) -> Facts:
    """Return the facts of one node. Raises NodeError, also for an invalid answer."""
    asked = time.time()
    raw = await agent.ask("facts")
    answered = time.time()

    def facts(raw: Any) -> Facts:
        skew = timestamp(raw["time"]) - (asked + answered) / 2
        return Facts.parse(raw, clock_skew=skew, clock_error=(answered - asked) / 2)

    return parse_answer(agent.node.name, "facts", facts, raw)


async def _introduce(fleet: Fleet, node: Node, phase: Phase) -> tuple[Agent, Facts] | Unreachable:
    """Return a node's agent and facts, or the error."""
    answer: tuple[Agent, Facts] | Unreachable
    try:
        agent = await fleet.start_agent(node)
        try:
            answer = agent, await gather_facts(agent)
        except LaunchError:
            with suppress(NodeError):
                await agent.close()
            raise
    except ShellError as error:
        answer = error.verdict
    except LaunchError as error:
        remedy = error.remedy or f"log in there and check that {node.host.python} runs"
        answer = Unreachable(node.name, "agent", error.text, remedy)
    phase.advance(node.name, not isinstance(answer, Unreachable))
    return answer
