"""Start a run on all of its nodes, or on none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.control.function_call import send_call
from orchestrator.errors import LaunchError, NodeError
from orchestrator.node.reasons import StopReason
from orchestrator.plan import NodePlan, Plan
from orchestrator.remote.connection import NodeConnection
from orchestrator.remote.grouped_errors import grouped_message
from orchestrator.runs.options import Settings
from orchestrator.util.text import printable

_START_TIMEOUT = 60.0  # seconds
_RECONNECT_TIMEOUT = 20.0  # seconds, to a node with an agent that failed


async def start(
    plan: Plan,
    connections: Sequence[NodeConnection],
    settings: Settings,
    attempt: int = 0,
    call: Path | None = None,
) -> None:
    """Start this attempt on every node. If one of them fails, stop the others and raise LaunchError.

    `call` is the folder with the call of the function that the ranks run (None: they run a script).
    """
    more = {"lease": settings.lease, "grace": settings.grace, "linger": settings.linger}

    async def start_one(connection: NodeConnection, node: NodePlan) -> NodeError | None:
        try:
            if call is not None:
                await send_call(connection.agent, plan.run, call)
            spec = node.spec(plan.run, attempt=attempt)
            answer = await connection.agent.ask("start", timeout=_START_TIMEOUT, **spec, **more)
        except NodeError as error:
            return error
        problem = answer.get("problem", "") if isinstance(answer, dict) else answer
        if isinstance(answer, dict) and problem is None:
            return None
        return NodeError(node.name, f"cannot start the job: {printable(str(problem), 500)}")

    pairs = zip(connections, plan.nodes, strict=True)
    results = await asyncio.gather(*(start_one(*pair) for pair in pairs))
    problems = [problem for problem in results if problem is not None]
    if problems:
        stopped = await _stop_again(plan, connections)
        raise LaunchError(f"{grouped_message(problems)}\n{stopped}")


async def _stop_again(plan: Plan, connections: Sequence[NodeConnection]) -> str:
    """Stop what has started, and return one line about the result."""

    async def stop_one(connection: NodeConnection, name: str) -> bool:
        """Return whether no process of the run is left on the node."""
        with suppress(NodeError, TimeoutError):
            if not connection.is_up:  # its agent may have started the job before it failed
                async with asyncio.timeout(_RECONNECT_TIMEOUT):
                    await connection.connect()
            with suppress(NodeError):
                reason = {"reason": StopReason.START_FAILED.value, "detail": {}}
                await ask(connection, "stop", name, grace=0.0, **reason)
            answer = await ask(connection, "sweep", name)
            return isinstance(answer, dict) and answer.get("left") == []
        return False

    async def ask(connection: NodeConnection, verb: str, name: str, **arguments: Any) -> Any:
        return await connection.agent.ask(verb, run=plan.run, node=name, **arguments)

    names = [node.name for node in plan.nodes]
    clean = await asyncio.gather(*map(stop_one, connections, names))
    unsure = [name for name, is_clean in zip(names, clean, strict=True) if not is_clean]
    if unsure:
        return f"processes may be left on {', '.join(unsure)}"
    return "the other nodes were stopped again"
