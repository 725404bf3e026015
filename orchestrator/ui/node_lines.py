"""Show the output of commands on nodes, each line prefixed with its node: `node1 │ text`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from types import TracebackType

from orchestrator.logs.lines import TextLines
from orchestrator.logs.stream import Stream
from orchestrator.ui.console import NODE_COLOURS
from orchestrator.ui.printer import write_all
from orchestrator.ui.terminal import wants_colour

_FLUSH_INTERVAL = 0.25  # seconds


class NodeLines:
    """Writes lines to stdout, in order for each node.

    `show` waits until stdout has taken them: a slow reader slows the commands down, as with ssh. Raises
    BrokenPipeError if the reader is gone.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        terminal = os.isatty(1)
        prefixes = _prefixes(nodes, coloured=wants_colour(1))
        self._lines = TextLines(
            lambda stream: prefixes[stream.node], "terminal" if terminal else "pipe"
        )
        self._streams = {name: Stream(name, 0, None, None, "stdout") for name in nodes}
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> NodeLines:
        self._flushing = asyncio.create_task(self._flush())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._flushing.cancel()
        await asyncio.gather(self._flushing, return_exceptions=True)
        if not isinstance(error, BrokenPipeError):
            await self._write(self._lines.close())

    async def show(self, node: str, data: bytes) -> None:
        """Write the lines that `data` completes."""
        async with self._turn:
            await self._write(self._lines.feed(self._streams[node], data))

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


def _prefixes(nodes: Sequence[str], *, coloured: bool) -> dict[str, bytes]:
    width = max(map(len, nodes))
    prefixes = {name: f"{name:<{width}} │ ".encode() for name in nodes}
    if coloured:
        for index, (name, plain) in enumerate(prefixes.items()):
            bar = plain.index("│".encode())
            colour = NODE_COLOURS[index % len(NODE_COLOURS)]
            prefixes[name] = b"\x1b[%bm%b\x1b[0m%b" % (colour, plain[:bar], plain[bar:])
    return prefixes
