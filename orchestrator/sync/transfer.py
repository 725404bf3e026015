"""Send files to nodes with rsync."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import SyncError
from orchestrator.remote.base import Node
from orchestrator.sync.client import Finished, sending
from orchestrator.sync.failure import PUSH
from orchestrator.sync.relay import VANISHED, OnProgress, Transfer
from orchestrator.sync.tree import Tree
from orchestrator.util.log import node_logger
from orchestrator.util.text import printable


@dataclass(frozen=True)
class Pushed:
    """A finished push: files transferred, bytes sent, and a warning if files vanished meanwhile."""

    node: str
    files: int
    sent: int
    seconds: float
    warning: str | None = None


async def push(
    node: Node,
    tree: Tree,
    destination: str,
    *,
    on_progress: OnProgress | None = None,
    update: bool = False,
    stall_timeout: float = 60.0,
) -> Pushed:
    """Send the files of `tree` to `destination`, the absolute path of a folder on `node`.

    Existing files with the same size and time are not touched, and nothing is deleted. A file is replaced
    atomically; with `update`, one that is newer there is kept. See `Transfer` for the rest.
    Raises SyncError with the node, the cause and a remedy.
    """
    if not destination.startswith("/") or "\0" in destination:
        raise ValueError(f"not an absolute path: {destination!r}")
    started = time.monotonic()
    log = node_logger("sync", node.name)
    log.debug("rsync: %d bytes of files to compare, to %s", tree.size, destination)
    transfer = Transfer(node, PUSH, destination, tree.size, on_progress, stall_timeout)
    finished = await transfer.run(sending(tree, destination, update=update))
    pushed = Pushed(
        node=node.name,
        files=transferred(finished.stdout),
        sent=transfer.count,
        seconds=time.monotonic() - started,
        warning=_warning(finished) if finished.code == VANISHED else None,
    )
    log.info("%d files, %d bytes sent in %.2f s", pushed.files, pushed.sent, pushed.seconds)
    return pushed


async def push_all(
    targets: Sequence[tuple[Node, str, Tree]],
    *,
    limit: int = 16,
    on_progress: OnProgress | None = None,
    update: bool = False,
) -> list[Pushed | SyncError]:
    """Push each node its tree, to at most `limit` nodes at once; return one result per node, in order."""
    gate = asyncio.Semaphore(limit)

    async def push_one(node: Node, destination: str, tree: Tree) -> Pushed | SyncError:
        async with gate:
            try:
                return await push(node, tree, destination, on_progress=on_progress, update=update)
            except SyncError as error:
                node_logger("sync", node.name).info("failed: %s", error.text)
                return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(push_one(*target)) for target in targets]
    return [task.result() for task in tasks]


def transferred(stats: bytes) -> int:
    """Return how many files rsync has transferred, from the output of its --stats."""
    found = re.search(rb"^Number of regular files transferred: (\d{1,18})", stats, re.MULTILINE)
    return int(found[1]) if found else 0


def _warning(finished: Finished) -> str:
    lines = [printable(line) for line in finished.stderr.splitlines() if b"has vanished" in line]
    return "; ".join(["some files vanished while they were being sent", *lines[:3]])
