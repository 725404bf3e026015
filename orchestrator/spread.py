"""Bring the job's folder to every node, once to each folder that several nodes share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator import events
from orchestrator.errors import LaunchError, SyncError
from orchestrator.phase import Phase
from orchestrator.plan import NodePlan, Plan
from orchestrator.remote.agent import AgentRefusal
from orchestrator.remote.fleet import Fleet
from orchestrator.sync import Progress, Pushed, collect, push_all


async def spread(fleet: Fleet, plan: Plan, source: Path, emit: events.Emit) -> None:
    """Copy `source` into the working folder of every node.

    Raises SyncError that names each node that it could not be brought to.
    """
    with Phase("sync", (node.name for node in plan.nodes), emit) as phase:
        tree = await asyncio.to_thread(collect, source)
        tokens = [f"{plan.run}-{node.node_rank}" for node in plan.nodes]
        try:
            await _prepare(fleet, plan.nodes, tokens)
            first = await _first_of_each_folder(fleet, plan.nodes, tokens)
            results = await push_all(
                [(fleet.agents[i].node, plan.nodes[i].workdir) for i in first],
                tree,
                on_progress=lambda p: emit(_advanced(p)),
            )
        finally:
            await _tidy(fleet, plan.nodes, tokens)
        for result in results:
            if isinstance(result, Pushed) and result.warning is not None:
                emit(events.Warned(result.warning))
        failures = [result for result in results if isinstance(result, SyncError)]
        if failures:
            raise SyncError("\n".join(str(failure) for failure in failures))
        phase.detail = _describe(len(tree.files), first, plan)


async def _prepare(fleet: Fleet, nodes: Sequence[NodePlan], tokens: Sequence[str]) -> None:
    async def prepare(index: int) -> None:
        node = nodes[index]
        try:
            await fleet.agents[index].ask("prepare", workdir=node.workdir, token=tokens[index])
        except AgentRefusal as refusal:
            raise SyncError(
                f"{node.name}: the working folder {node.workdir} cannot be used: {refusal.text}",
                remedy=f"make it writable for the user that logs in there, or set `workdir:` of "
                f"{node.name} in the inventory",
            ) from None

    await fleet.each(range(len(nodes)), prepare)


async def _first_of_each_folder(
    fleet: Fleet, nodes: Sequence[NodePlan], tokens: Sequence[str]
) -> list[int]:
    """Return the positions of the nodes to write to: of those that share a folder, the first."""
    answers = await fleet.ask_all(
        "shared", lambda index: {"workdir": nodes[index].workdir, "tokens": list(tokens)}
    )
    for node, token, seen in zip(nodes, tokens, answers, strict=True):
        if token not in seen:
            raise SyncError(
                f"{node.name}: what is written to {node.workdir} is not there a moment later",
                remedy=f"set `workdir:` of {node.name} to a folder that keeps what it is given",
            )
    return [index for index, seen in enumerate(answers) if seen[0] == tokens[index]]


async def _tidy(fleet: Fleet, nodes: Sequence[NodePlan], tokens: Sequence[str]) -> None:
    results = await asyncio.gather(
        *(
            agent.ask("tidy", timeout=5.0, workdir=node.workdir, token=token)
            for agent, node, token in zip(fleet.agents, nodes, tokens, strict=True)
        ),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, LaunchError):
            raise result  # a node that is gone keeps its empty sentinel: the launch fails anyway


def _advanced(progress: Progress) -> events.SyncAdvanced:
    return events.SyncAdvanced(progress.node, progress.sent, progress.total)


def _describe(files: int, first: Sequence[int], plan: Plan) -> str:
    text = f"{files} file" + ("" if files == 1 else "s")
    if len(first) < len(plan.nodes):
        text += f", {len(first)} of {len(plan.nodes)} folders (the others are shared)"
    return text
