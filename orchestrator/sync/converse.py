"""Let rsync here and rsync on a node talk over the open connection, and watch how much they say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.remote.base import Channel, ConnectionLost, Node
from orchestrator.sync.client import SERVER, Client, Finished
from orchestrator.util.quoting import command_line

_PROGRESS_PERIOD = 0.1  # seconds
_END_TIMEOUT = 5.0  # seconds that the node's half has to end once ours has

Moved = Callable[[int], None]
"""Told how many bytes have moved."""


@dataclass(frozen=True)
class Progress:
    """Bytes sent to a node, or by it, of at most `total`: what is there already is not sent again."""

    node: str
    sent: int
    total: int


OnProgress = Callable[[Progress], None]


class Meter:
    """Count the bytes, tell of them, and put off the end of patience with each that moves."""

    def __init__(
        self,
        node: str,
        total: int,
        on_progress: OnProgress | None,
        patience: asyncio.Timeout,
        allowance: float,
    ) -> None:
        self.count = 0
        self._node = node
        self._total = total
        self._on_progress = on_progress
        self._patience = patience
        self._allowance = allowance
        self._told = 0.0

    def moved(self, count: int = 0) -> None:
        """Note that so many bytes more have moved; none, where they were not of the files."""
        now = asyncio.get_running_loop().time()
        self.count += count
        if not self._patience.expired():
            self._patience.reschedule(now + self._allowance)
        if self._on_progress and now - self._told >= _PROGRESS_PERIOD:
            self._told = now
            self._on_progress(Progress(self._node, min(self.count, self._total), self._total))

    def done(self) -> None:
        """Tell that all of it has."""
        if self._on_progress:
            self._on_progress(Progress(self._node, self._total, self._total))


async def converse(
    node: Node,
    client: Client,
    *,
    on_sent: Moved,
    on_received: Moved,
    expected: Sequence[str] = SERVER,
) -> tuple[Finished, int | None, bytes]:
    """Let both halves of rsync talk until ours has ended; each byte that moves is told of.

    Returns how that was, the exit code of the other half, None if it has none, and what that half
    wrote to standard error. Only both together tell of success: what the node could not do is
    told there, and need not travel in the stream. Raises ConnectionLost, and what the callbacks raise.
    """
    command = await client.command(expected)
    if command is None:
        return await client.finished(), None, b""
    channel = await node.open("exec " + command_line(command))
    try:
        on_sent(0)
        finished = await _relay(client, channel, on_sent, on_received)
        return finished, await _exit_code(channel), channel.stderr
    finally:
        channel.close()


async def _relay(client: Client, channel: Channel, on_sent: Moved, on_received: Moved) -> Finished:
    """Carry bytes both ways until rsync here has ended. Raises ConnectionLost."""

    async def up() -> None:
        while piece := await client.read():
            await channel.write(piece)
            on_sent(len(piece))
        channel.write_eof()

    async def down() -> None:
        try:
            while piece := await channel.read():
                on_received(len(piece))
                await client.write(piece)
        except BrokenPipeError:
            return  # rsync has ended, and its exit code says why
        client.write_eof()

    try:
        async with asyncio.TaskGroup() as pumps:
            tasks = [pumps.create_task(up()), pumps.create_task(down())]
            finished = await client.finished()
            for task in tasks:  # an rsync that failed may leave a far side that goes on talking
                task.cancel()
    except ExceptionGroup as group:  # the first one's failure cancelled the other
        raise group.exceptions[0] from None
    return finished


async def _exit_code(channel: Channel) -> int | None:
    channel.write_eof()
    try:
        async with asyncio.timeout(_END_TIMEOUT):
            while await channel.read():  # standard error is whole when standard output is
                pass
            return await channel.wait()
    except (TimeoutError, ConnectionLost):
        return None
