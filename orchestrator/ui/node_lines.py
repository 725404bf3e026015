"""Show the output of commands on nodes, each line prefixed with its node: `node1 │ text`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Literal

from orchestrator.logs.lines import TextLines
from orchestrator.logs.stream import Stream
from orchestrator.ui.console import node_colours
from orchestrator.ui.stdout import write_all
from orchestrator.ui.terminal import wants_colour

_FLUSH_INTERVAL = 0.25  # seconds


class NodeLines:
    """Writes lines to stdout, in order for each node.

    `show` waits until stdout has taken them: a slow reader slows the commands down, as with ssh. Raises
    BrokenPipeError if the reader is gone.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        mode: Literal["terminal", "pipe"] = "terminal" if os.isatty(1) else "pipe"
        self._lines = TextLines(_prefix_of(nodes), mode)
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> NodeLines:
        self._flushing = asyncio.create_task(self._flush())
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._flushing.cancel()
        await asyncio.gather(self._flushing, return_exceptions=True)
        if not isinstance(error, BrokenPipeError):
            await self._write(self._lines.close())

    async def show(self, node: str, data: bytes) -> None:
        """Write the lines that `data` completes."""
        async with self._turn:
            await self._write(self._lines.feed(Stream(node, 0, None, None, "stdout"), data))

    async def _flush(self) -> None:
        """Show unfinished lines: prompts, progress."""
        while True:
            await asyncio.sleep(_FLUSH_INTERVAL)
            async with self._turn:
                await self._write(self._lines.flush(asyncio.get_running_loop().time()))

    @staticmethod
    async def _write(data: bytes) -> None:
        if data:
            await asyncio.to_thread(write_all, 1, data)


def _prefix_of(nodes: Sequence[str]) -> Callable[[Stream], bytes]:
    width = max(map(len, nodes))
    colours = node_colours(nodes) if wants_colour(1) else {}

    def prefix(stream: Stream) -> bytes:
        name = f"{stream.node:<{width}} ".encode()
        if stream.node in colours:
            name = b"\x1b[%bm%b\x1b[0m" % (colours[stream.node], name)
        return name + "│ ".encode()

    return prefix
