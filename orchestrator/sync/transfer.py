"""Bring a tree to nodes: rsync here and rsync there, and the open connection between them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import NodeError, SyncError
from orchestrator.quoting import command_line
from orchestrator.remote.base import Channel, LinkLost, Node
from orchestrator.remote.text import printable
from orchestrator.sync.client import Client, Finished, sending
from orchestrator.sync.failure import Failure
from orchestrator.sync.tree import Tree

_VANISHED = 24  # rsync: some source files vanished before they could be sent
_FINE = frozenset({0, _VANISHED})
_PROGRESS_PERIOD = 0.1  # seconds
_LAST_WORDS = 5.0  # seconds that the node's half has to end once ours has


@dataclass(frozen=True)
class Progress:
    """Bytes sent to a node, of at most `total`: what it has already is not sent again."""

    node: str
    sent: int
    total: int


@dataclass(frozen=True)
class Pushed:
    """A finished push: files transferred, bytes sent, and what went less than well, if anything."""

    node: str
    files: int
    sent: int
    seconds: float
    warning: str | None = None


OnProgress = Callable[[Progress], None]


async def push(
    node: Node,
    tree: Tree,
    destination: str,
    *,
    on_progress: OnProgress | None = None,
    stall_timeout: float = 60.0,
) -> Pushed:
    """Bring the files of `tree` into `destination`, an absolute path of a folder on `node`.

    Files that are there, with the same size and time, are left alone; nothing is deleted. A file
    changes in one step, from the old to the new. `on_progress` is called at most ten times a
    second, and when all is done.

    Raises SyncError, with the node, the cause and a remedy; after `stall_timeout` seconds without
    a byte in either direction, too.
    """
    if not destination.startswith("/") or "\0" in destination:
        raise ValueError(f"not an absolute path: {destination!r}")
    begun = time.monotonic()
    patience = asyncio.timeout(stall_timeout)
    meter = _Meter(node.name, tree.size, on_progress, patience, stall_timeout)
    try:
        async with patience, sending(tree, destination) as client:
            finished, there, said = await _converse(node, client, meter)
    except TimeoutError:
        raise SyncError(
            f"{node.name}: nothing moved for {stall_timeout:g} s while files were being sent to "
            f"{printable(destination)} ({meter.sent:,} bytes had gone)",
            remedy="see whether the node's disk hangs, and run it again: what has arrived is kept",
        ) from None
    except NodeError as error:
        remedy = error.remedy or "run it again: what has arrived is kept"
        raise SyncError(error.message, remedy=remedy) from error
    if not {finished.code, there} <= _FINE:
        raise Failure(node.name, destination, finished.code, there, said + finished.stderr).error()
    meter.done()
    return Pushed(
        node=node.name,
        files=_transferred(finished.stdout),
        sent=meter.sent,
        seconds=time.monotonic() - begun,
        warning=_warning(finished) if finished.code == _VANISHED else None,
    )


async def push_all(
    targets: Sequence[tuple[Node, str]],
    tree: Tree,
    *,
    limit: int = 16,
    on_progress: OnProgress | None = None,
    stall_timeout: float = 60.0,
) -> list[Pushed | SyncError]:
    """Push to each node and its destination, at most `limit` at once; one result each, in order."""
    gate = asyncio.Semaphore(limit)

    async def one(node: Node, destination: str) -> Pushed | SyncError:
        async with gate:
            try:
                return await push(
                    node,
                    tree,
                    destination,
                    on_progress=on_progress,
                    stall_timeout=stall_timeout,
                )
            except SyncError as error:
                return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(node, destination)) for node, destination in targets]
    return [task.result() for task in tasks]


class _Meter:
    """Count the bytes, tell of them, and put off the end of patience with each that moves."""

    def __init__(
        self,
        node: str,
        total: int,
        on_progress: OnProgress | None,
        patience: asyncio.Timeout,
        allowance: float,
    ) -> None:
        self.sent = 0
        self._node = node
        self._total = total
        self._on_progress = on_progress
        self._patience = patience
        self._allowance = allowance
        self._told = 0.0

    def moved(self, sent: int = 0) -> None:
        now = asyncio.get_running_loop().time()
        self.sent += sent
        if not self._patience.expired():
            self._patience.reschedule(now + self._allowance)
        if self._on_progress and now - self._told >= _PROGRESS_PERIOD:
            self._told = now
            self._on_progress(Progress(self._node, min(self.sent, self._total), self._total))

    def done(self) -> None:
        if self._on_progress:
            self._on_progress(Progress(self._node, self._total, self._total))


async def _converse(
    node: Node, client: Client, meter: _Meter
) -> tuple[Finished, int | None, bytes]:
    """Let both halves of rsync talk until ours has ended.

    Returns how that was, the exit code of the other half, None if it has none, and what that half
    wrote to standard error. Only both together tell of success: what the node could not write is
    told there, and never travels in the stream.
    """
    command = await client.command()
    if command is None:
        return await client.finished(), None, b""
    channel = await node.open("exec " + command_line(command))
    try:
        meter.moved()
        finished = await _relay(client, channel, meter)
        return finished, await _exit_code(channel), channel.stderr
    finally:
        channel.close()


async def _relay(client: Client, channel: Channel, meter: _Meter) -> Finished:
    """Carry bytes both ways until rsync here has ended. Raises LinkLost."""

    async def up() -> None:
        while piece := await client.read():
            await channel.write(piece)
            meter.moved(len(piece))
        channel.write_eof()

    async def down() -> None:
        try:
            while piece := await channel.read():
                await client.write(piece)
                meter.moved()
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
        async with asyncio.timeout(_LAST_WORDS):
            while await channel.read():  # standard error is whole when standard output is
                pass
            return await channel.wait()
    except (TimeoutError, LinkLost):
        return None


def _transferred(stats: bytes) -> int:
    found = re.search(rb"^Number of regular files transferred: (\d+)", stats, re.MULTILINE)
    return int(found[1]) if found else 0


def _warning(finished: Finished) -> str:
    lines = [printable(line) for line in finished.stderr.splitlines() if b"has vanished" in line]
    return "; ".join(["some files vanished while they were being sent", *lines[:3]])
