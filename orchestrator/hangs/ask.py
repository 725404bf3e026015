"""Ask a node where the processes of a run are."""

from __future__ import annotations

from orchestrator.errors import NodeError
from orchestrator.hangs.look import Look, parse
from orchestrator.remote.agent import Agent

_MARGIN = 5.0  # seconds beyond what the node has for it


async def ask(agent: Agent, run: str, node: str, *, limit: float, brief: bool = False) -> Look:
    """Return what `node` tells within `limit` seconds. Raises NodeError.

    A `brief` look has the main threads of ranks and launchers only, and no connections.
    """
    said = await agent.ask(
        "stacks", timeout=limit + _MARGIN, limit=limit, run=run, node=node, brief=brief
    )
    try:
        return parse(node, said)
    except ValueError as error:
        raise NodeError(str(error)) from None
