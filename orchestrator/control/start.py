"""Start every node's share of a run, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from orchestrator.errors import LaunchError, NodeError
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Plan
from orchestrator.remote.connection import NodeConnection
from orchestrator.remote.grouped_errors import grouped_message
from orchestrator.runs.options import Settings
from orchestrator.util.text import printable

_START_TIME = 60.0  # seconds that a node has for it
_COME_BACK_TIME = 20.0  # seconds to connect again to a node whose agent broke off


async def start(
    plan: Plan, connections: Sequence[NodeConnection], settings: Settings, attempt: int = 0
) -> None:
    """Start every node's share of this attempt. If one cannot, stop the others and raise LaunchError."""
    more = {"lease": settings.lease, "grace": settings.grace, "linger": settings.linger}
    answers = await asyncio.gather(
        *(
            connection.agent.ask(
                "start", timeout=_START_TIME, **node.spec(plan.run, attempt=attempt), **more
            )
            for connection, node in zip(connections, plan.nodes, strict=True)
        ),
        return_exceptions=True,
    )
    problems: list[LaunchError] = []
    for node, answer in zip(plan.nodes, answers, strict=True):
        if isinstance(answer, NodeError):
            problems.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        elif not isinstance(answer, dict) or answer.get("problem", "") is not None:
            reason = printable(
                str(answer.get("problem") if isinstance(answer, dict) else answer), 500
            )
            problems.append(NodeError(node.name, f"cannot start the job: {reason}"))
    if problems:
        taken_back = await _take_back(plan, connections)
        raise LaunchError(f"{grouped_message(problems)}\n{taken_back}")


async def _take_back(plan: Plan, connections: Sequence[NodeConnection]) -> str:
    """Stop what has started, and return what there is to say about that."""
    # An agent that broke off may have started its share before.
    await asyncio.gather(
        *(_come_back(connection) for connection in connections if not connection.is_up)
    )
    told = {"grace": 0.0, "reason": StopReason.START_FAILED.value, "detail": {}}
    await _ask_all(plan, connections, "stop", **told)
    swept = await _ask_all(plan, connections, "sweep")
    if all(isinstance(answer, dict) and answer.get("left") == [] for answer in swept):
        return "the other nodes were stopped again"
    unsure = [
        node.name
        for node, answer in zip(plan.nodes, swept, strict=True)
        if not isinstance(answer, dict) or answer.get("left") != []
    ]
    return f"processes may be left on {', '.join(unsure)}"


async def _come_back(connection: NodeConnection) -> None:
    with suppress(NodeError, TimeoutError):  # that processes may be left there is said
        async with asyncio.timeout(_COME_BACK_TIME):
            await connection.connect()


async def _ask_all(
    plan: Plan, connections: Sequence[NodeConnection], verb: str, **arguments: Any
) -> list[Any]:
    return await asyncio.gather(
        *(
            connection.agent.ask(verb, run=plan.run, node=node.name, **arguments)
            for connection, node in zip(connections, plan.nodes, strict=True)
            if connection.is_up
        ),
        return_exceptions=True,
    )
