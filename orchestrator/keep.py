"""The use case of a keeper: mind a run that others have started, from its folder, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from orchestrator import events
from orchestrator.inventory import Host
from orchestrator.remote.line import Dialer, Line
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.follower import Follower
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.record import Record
from orchestrator.runs.run import Run
from orchestrator.runs.saved import Saved, read_saved
from orchestrator.runs.settings import watchful

_FETCH_TIME = 60.0  # seconds within which a node must tell something new of what is missing


async def keep(saved: Saved, emit: events.Emit = lambda event: None) -> None:
    """Mind the run to its end; of one that has ended, fetch the logs that are missing here.

    Returns at once when somebody minds it already.
    """
    record = Record.reopen(saved)
    if record is None:
        return
    # Whoever minded it until now may have seen it end since we looked.
    saved = read_saved(saved.folder) or saved
    try:
        async with lines_to(saved) as lines:
            if saved.has_ended:
                await _fetch(record, saved, lines, emit)
            else:
                run = Run(record, lines, emit, Interrupts())
                run.conclude(await run.watch())
    finally:
        record.close()


async def _fetch(record: Record, saved: Saved, lines: Sequence[Line], emit: events.Emit) -> None:
    """Bring what is missing of the logs here, as far as the nodes can be reached, and end the run there."""

    def note(event: events.Event) -> None:
        with suppress(OSError):  # the disk is full: the logs tell as well
            record.note(event)
        emit(event)

    followers = [
        Follower(node, line, record, note, lambda: None)
        for node, line in zip(saved.plan.nodes, lines, strict=True)
        if node.name in saved.missing
    ]
    for node in followers:
        # A node that was away when the run ended may have come back, and its ranks go on.
        await node.stop("the run has ended", saved.settings.grace)
    following = {asyncio.create_task(node.follow()): node for node in followers}
    waited_for = set(following)
    loop = asyncio.get_running_loop()
    while waited_for:
        await asyncio.wait(waited_for, timeout=0.5)
        waited_for = {
            task
            for task in waited_for
            if not task.done() and following[task].away_since is None
            and loop.time() - following[task].heard_at < _FETCH_TIME
        }  # fmt: skip
    for task in following:
        task.cancel()
    for result in await asyncio.gather(*following, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    with suppress(OSError):  # it is fetched again the next time
        record.amend(missing=tuple(node.name for node in followers if not node.has_all))


@asynccontextmanager
async def lines_to(saved: Saved) -> AsyncIterator[list[Line]]:
    """Give the ways to the run's nodes, in node order; none is connected yet."""
    settings = saved.settings
    hosts: dict[str, Host] = {node.name: node.host for node in saved.plan.nodes}
    options = ConnectOptions(timeout=settings.connect_timeout, accept_new=settings.accept_new)
    async with AsyncExitStack() as stack:
        if settings.embedded is not None:
            from orchestrator.remote.local import LocalCluster

            cluster = await stack.enter_async_context(
                LocalCluster(settings.embedded.count, settings.embedded.root)
            )
            hosts.update((host.name, host) for host in cluster.hosts)
            options = cluster.options
        dialer = Dialer(watchful(options, settings.node_timeout))
        lines = [Line(hosts[node.name], dialer) for node in saved.plan.nodes]
        try:
            yield lines
        finally:
            await dialer.close()
            await asyncio.gather(*(line.close() for line in lines))
