"""Run rsync here and on a node, and relay between them over the open connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from orchestrator.errors import NodeError, SyncError
from orchestrator.remote.base import Channel, ConnectionLost, Node
from orchestrator.sync.client import SERVER, Client, Finished
from orchestrator.sync.failure import PUSH, RERUN, Direction, failure
from orchestrator.util.quoting import command_line
from orchestrator.util.text import printable

VANISHED = 24
"""rsync's exit code if some source files vanished before they could be sent."""

_PROGRESS_INTERVAL = 0.1  # seconds
_EXIT_TIMEOUT = 5.0  # seconds rsync on the node has to end after the local one


@dataclass(frozen=True)
class Progress:
    """Bytes sent to or by a node, of at most `total`: existing data is not sent again."""

    node: str
    sent: int
    total: int


OnProgress = Callable[[Progress], None]


@dataclass
class Transfer:
    """A transfer of files with `total` bytes to `node` (`PUSH`) or from it (`FETCH`).

    `folder` is the destination, and `max_bytes` the most that a node may send (None: no limit).
    `on_progress` is called at most ten times a second, and at the end. A transfer in which no byte moves
    for `stall_timeout` seconds is ended.
    """

    node: Node
    direction: Direction
    folder: str
    total: int
    on_progress: OnProgress | None
    stall_timeout: float
    max_bytes: int | None = None
    count: int = 0
    """How many bytes have been transferred."""
    _reported_at: float = 0.0

    def __post_init__(self) -> None:
        self._deadline = asyncio.timeout(self.stall_timeout)

    async def run(
        self, rsync: AbstractAsyncContextManager[Client], expected: Sequence[str] = SERVER
    ) -> Finished:
        """Run until rsync has ended on both sides; return how the local one ended.

        `expected` is the start of the command that rsync may run on the node. Raises SyncError with the
        node, the cause and a remedy.
        """
        name = self.node.name
        try:
            async with self._deadline, rsync as client:
                finished, code, stderr = await self._converse(client, expected)
        except TimeoutError:
            raise SyncError(
                f"no data for {self.stall_timeout:g} s while {self.direction['action']} "
                f"{printable(self.folder)} ({self.count:,} bytes so far)",
                node=name,
                remedy=f"check whether a disk hangs, and {RERUN}",
            ) from None
        except NodeError as error:
            raise SyncError(error.text, node=error.node, remedy=error.remedy or RERUN) from error
        if not {finished.code, code} <= {0, VANISHED}:
            said = stderr + finished.stderr
            raise failure(self.direction, name, self.folder, finished.code, code, said)
        if self.on_progress:
            self.on_progress(Progress(name, self.total, self.total))
        return finished

    async def _converse(
        self, client: Client, expected: Sequence[str]
    ) -> tuple[Finished, int | None, bytes]:
        """Return how the local rsync ended, the exit code of the one on the node, and its standard error.

        The node's exit code is None if it has none. Success needs both codes: an error on the node is
        reported there, and may not reach the stream.
        """
        command = await client.command(expected)
        if command is None:
            return await client.finished(), None, b""
        channel = await self.node.open("exec " + command_line(command))
        try:
            self._moved(0)
            finished = await self._relay(client, channel)
            return finished, await _exit_code(channel), channel.stderr
        finally:
            channel.close()

    async def _relay(self, client: Client, channel: Channel) -> Finished:
        """Carry bytes both ways until the local rsync has ended. Raises ConnectionLost."""
        is_push = self.direction is PUSH

        async def up() -> None:
            while piece := await client.read():
                await channel.write(piece)
                self._moved(len(piece) if is_push else 0)
            channel.write_eof()

        async def down() -> None:
            try:
                while piece := await channel.read():
                    self._moved(0 if is_push else len(piece))
                    await client.write(piece)
            except BrokenPipeError:
                return  # rsync has ended, and its exit code has the reason
            client.write_eof()

        try:
            async with asyncio.TaskGroup() as pumps:
                tasks = [pumps.create_task(up()), pumps.create_task(down())]
                finished = await client.finished()
                for task in tasks:  # after a failure here, the node may keep sending
                    task.cancel()
        except ExceptionGroup as group:  # the first one's failure cancelled the other
            raise group.exceptions[0] from None
        return finished

    def _moved(self, count: int) -> None:
        """Count bytes of files (0: other bytes), report progress, and restart the stall timeout."""
        now = asyncio.get_running_loop().time()
        self.count += count
        if not self._deadline.expired():
            self._deadline.reschedule(now + self.stall_timeout)
        if self.on_progress and now - self._reported_at >= _PROGRESS_INTERVAL:
            self._reported_at = now
            sent = min(self.count, self.total)
            self.on_progress(Progress(self.node.name, sent, self.total))
        if self.max_bytes is not None and self.count > self.max_bytes:
            raise SyncError(
                f"it sends more than it has listed ({self.total:,} bytes)",
                node=self.node.name,
                remedy="fetch again once the run writes less, or check what answers on the node: "
                f"orch ssh {self.node.name}",
            )


async def _exit_code(channel: Channel) -> int | None:
    channel.write_eof()
    try:
        async with asyncio.timeout(_EXIT_TIMEOUT):
            while await channel.read():  # standard error is complete at the end of standard output
                pass
            return await channel.wait()
    except (TimeoutError, ConnectionLost):
        return None
