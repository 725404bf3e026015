"""Find the nodes that share a working folder: each creates a token in it, and looks for the others'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from orchestrator.errors import LaunchError, SyncError
from orchestrator.remote.agent import AgentRefusal
from orchestrator.remote.fleet import Fleet
from orchestrator.util.answers import parse_answer, texts


@asynccontextmanager
async def sharing(fleet: Fleet, folders: Sequence[str], run: str) -> AsyncIterator[list[list[int]]]:
    """Yield the positions of nodes in `fleet` in groups; the nodes of a group share one of the `folders`.

    The folders are created if necessary. Raises SyncError with each node that cannot write to its folder.
    """
    tokens = [f"{run}-{index}" for index in range(len(folders))]
    try:
        await _prepare(fleet, folders, tokens)
        yield await groups(fleet, folders, tokens)
    finally:
        await _tidy(fleet, folders, tokens)


async def groups(fleet: Fleet, folders: Sequence[str], tokens: Sequence[str]) -> list[list[int]]:
    """Return the positions of nodes, grouped by which ones see each other's tokens in their folders."""
    answers = await fleet.ask_all(
        "shared", lambda index: {"workdir": folders[index], "tokens": list(tokens)}
    )
    found: dict[str, list[int]] = {}
    for index, answer in enumerate(answers):
        name = fleet.hosts[index].name
        seen = parse_answer(name, "shared", texts, answer)
        if tokens[index] not in seen:
            raise SyncError(
                f"a file that was just written to {folders[index]} is not there",
                node=name,
                remedy=f"set `workdir:` of {name} to a folder that keeps files",
            )
        found.setdefault(seen[0], []).append(index)
    return list(found.values())


async def _prepare(fleet: Fleet, folders: Sequence[str], tokens: Sequence[str]) -> None:
    async def prepare(index: int) -> None:
        name = fleet.hosts[index].name
        try:
            await fleet.agents[index].ask("prepare", workdir=folders[index], token=tokens[index])
        except AgentRefusal as refusal:
            raise unusable(name, folders[index], refusal) from None

    await fleet.each(range(len(folders)), prepare)


def unusable(node: str, folder: str, refusal: AgentRefusal) -> SyncError:
    """Return the error that a node's working folder cannot be used."""
    return SyncError(
        f"the working folder {folder} cannot be used: {refusal.text}",
        node=node,
        remedy=f"make it writable for the user that logs in there, or set `workdir:` of "
        f"{node} in the inventory",
    )


async def _tidy(fleet: Fleet, folders: Sequence[str], tokens: Sequence[str]) -> None:
    results = await asyncio.gather(
        *(
            agent.ask("tidy", timeout=5.0, workdir=folder, token=token)
            for agent, folder, token in zip(fleet.agents, folders, tokens, strict=True)
        ),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, LaunchError):
            raise result  # a lost node keeps its empty token, but the launch fails anyway
