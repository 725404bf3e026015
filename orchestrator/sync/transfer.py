"""Bring a tree to nodes: rsync here and rsync there, and the open connection between them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import NodeError, SyncError
from orchestrator.remote.base import Node
from orchestrator.sync.client import Finished, sending
from orchestrator.sync.converse import Meter, OnProgress, converse
from orchestrator.sync.failure import Failure
from orchestrator.sync.tree import Tree
from orchestrator.util.log import node_logger
from orchestrator.util.text import printable

_VANISHED = 24  # rsync: some source files vanished before they could be sent
FINE = frozenset({0, _VANISHED})


@dataclass(frozen=True)
class Pushed:
    """A finished push: files transferred, bytes sent, and what went less than well, if anything."""

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
    """Bring the files of `tree` into `destination`, an absolute path of a folder on `node`.

    Files that are there, with the same size and time, are left alone; nothing is deleted. A file
    changes in one step, from the old to the new; with `update`, one that is newer there stays.
    `on_progress` is called at most ten times a second, and when all is done.

    Raises SyncError, with the node, the cause and a remedy; after `stall_timeout` seconds without
    a byte in either direction, too.
    """
    if not destination.startswith("/") or "\0" in destination:
        raise ValueError(f"not an absolute path: {destination!r}")
    begun = time.monotonic()
    log = node_logger("sync", node.name)
    log.debug("rsync: %d bytes of files to compare, to %s", tree.size, destination)
    patience = asyncio.timeout(stall_timeout)
    meter = Meter(node.name, tree.size, on_progress, patience, stall_timeout)
    try:
        async with patience, sending(tree, destination, update=update) as client:
            finished, there, said = await converse(
                node, client, on_sent=meter.moved, on_received=lambda _: meter.moved()
            )
    except TimeoutError:
        raise SyncError(
            f"nothing moved for {stall_timeout:g} s while files were being sent to "
            f"{printable(destination)} ({meter.count:,} bytes had gone)",
            node=node.name,
            remedy="see whether the node's disk hangs, and run it again: what has arrived is kept",
        ) from None
    except NodeError as error:
        remedy = error.remedy or "run it again: what has arrived is kept"
        raise SyncError(error.text, node=error.node, remedy=remedy) from error
    if not {finished.code, there} <= FINE:
        raise Failure(node.name, destination, finished.code, there, said + finished.stderr).error()
    meter.done()
    pushed = Pushed(
        node=node.name,
        files=transferred(finished.stdout),
        sent=meter.count,
        seconds=time.monotonic() - begun,
        warning=_warning(finished) if finished.code == _VANISHED else None,
    )
    log.info("%d files, %d bytes sent in %.2f s", pushed.files, pushed.sent, pushed.seconds)
    return pushed


async def push_all(
    targets: Sequence[tuple[Node, str]],
    tree: Tree,
    *,
    limit: int = 16,
    on_progress: OnProgress | None = None,
    update: bool = False,
    stall_timeout: float = 60.0,
) -> list[Pushed | SyncError]:
    """Push to each node and its destination, at most `limit` at once; one result each, in order."""
    return await push_each(
        [(node, destination, tree) for node, destination in targets],
        limit=limit,
        on_progress=on_progress,
        update=update,
        stall_timeout=stall_timeout,
    )


async def push_each(
    targets: Sequence[tuple[Node, str, Tree]],
    *,
    limit: int = 16,
    on_progress: OnProgress | None = None,
    update: bool = False,
    stall_timeout: float = 60.0,
) -> list[Pushed | SyncError]:
    """Push to each node and its destination a tree of its own, as `push_all` does."""
    gate = asyncio.Semaphore(limit)

    async def one(node: Node, destination: str, tree: Tree) -> Pushed | SyncError:
        async with gate:
            try:
                return await push(
                    node,
                    tree,
                    destination,
                    on_progress=on_progress,
                    update=update,
                    stall_timeout=stall_timeout,
                )
            except SyncError as error:
                node_logger("sync", node.name).info("failed: %s", error.text)
                return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*target)) for target in targets]
    return [task.result() for task in tasks]


def transferred(stats: bytes) -> int:
    """Return how many files rsync says that it has transferred."""
    found = re.search(rb"^Number of regular files transferred: (\d{1,18})", stats, re.MULTILINE)
    return int(found[1]) if found else 0


def _warning(finished: Finished) -> str:
    lines = [printable(line) for line in finished.stderr.splitlines() if b"has vanished" in line]
    return "; ".join(["some files vanished while they were being sent", *lines[:3]])
