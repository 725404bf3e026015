"""Start every node's share of a run, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from orchestrator.errors import LaunchError, NodeError
from orchestrator.plan import Plan
from orchestrator.remote.line import Line
from orchestrator.runs.settings import Settings

_START_TIME = 60.0  # seconds that a node has for it
_STOP_REASON = "a node could not start"


async def start(plan: Plan, lines: Sequence[Line], settings: Settings, attempt: int = 0) -> None:
    """Start every node's share of this attempt. If one cannot, stop the others and raise LaunchError."""
    more = {"lease": settings.lease, "grace": settings.grace}
    answers = await asyncio.gather(
        *(
            line.agent.ask(
                "start", timeout=_START_TIME, **node.spec(plan.run, attempt=attempt), **more
            )
            for line, node in zip(lines, plan.nodes, strict=True)
        ),
        return_exceptions=True,
    )
    problems = []
    for node, answer in zip(plan.nodes, answers, strict=True):
        if isinstance(answer, NodeError):
            problems.append(str(answer))
        elif isinstance(answer, BaseException):
            raise answer
        elif not isinstance(answer, dict) or answer.get("problem", "") is not None:
            reason = answer.get("problem") if isinstance(answer, dict) else answer
            problems.append(f"{node.name}: cannot start the job: {reason}")
    if problems:
        problems.append(await _take_back(plan, lines))
        raise LaunchError("\n".join(problems))


async def _take_back(plan: Plan, lines: Sequence[Line]) -> str:
    """Stop what has started, and return what there is to say about that."""
    told = {"grace": 0.0, "reason": _STOP_REASON}
    await _ask_all(plan, lines, "stop", **told)
    swept = await _ask_all(plan, lines, "sweep")
    if all(isinstance(answer, dict) and answer.get("left") == [] for answer in swept):
        return "the other nodes were stopped again"
    unsure = [
        node.name
        for node, answer in zip(plan.nodes, swept, strict=True)
        if not isinstance(answer, dict) or answer.get("left") != []
    ]
    return f"processes may be left on {', '.join(unsure)}"


async def _ask_all(plan: Plan, lines: Sequence[Line], verb: str, **arguments: Any) -> list[Any]:
    return await asyncio.gather(
        *(
            line.agent.ask(verb, run=plan.run, node=node.name, **arguments)
            for line, node in zip(lines, plan.nodes, strict=True)
            if line.is_up
        ),
        return_exceptions=True,
    )
