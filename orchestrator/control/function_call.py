"""Send the call of a function to a node, into the folder of the run there."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

from orchestrator.calls.packing import files_of
from orchestrator.remote.agent import Agent

_PIECE = 1 << 20  # bytes
_TIMEOUT = 60.0  # seconds for a piece


async def send_call(agent: Agent, run: str, folder: Path) -> None:
    """Send the files of the call in `folder`. Raises NodeError."""
    await asyncio.gather(*(_send_file(agent, run, path) for path in files_of(folder)))


async def _send_file(agent: Agent, run: str, path: Path) -> None:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for offset in range(0, size, _PIECE):
            piece = file.read(_PIECE)
            await agent.ask(
                "put_call",
                timeout=_TIMEOUT,
                run=run,
                node=agent.node.name,
                name=path.name,
                offset=offset,
                data=base64.b64encode(piece).decode("ascii"),
            )
