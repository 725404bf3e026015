"""The use case of a keeper: mind a run that others have started, from its folder, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from orchestrator import events
from orchestrator.again import mind
from orchestrator.inventory import Host
from orchestrator.remote.line import Dialer, Line
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.follower import Follower
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.recipe import Recipe
from orchestrator.runs.record import Record
from orchestrator.runs.saved import Saved, read_saved
from orchestrator.runs.settings import watchful

_FETCH_TIME = 60.0  # seconds within which a node must tell something new of what is missing


async def keep(
    saved: Saved, recipe: Recipe | None = None, emit: events.Emit = lambda event: None
) -> None:
    """Mind the run to its end; of one that has ended, fetch the logs that are missing here.

    `recipe` is how it is started again when it fails, the values of secrets in it (None: as its record has
    it, without them). Returns at once when somebody minds the run already.
    """
    record = Record.reopen(saved)
    if record is None:
        return
    # Whoever minded it until now may have seen it end since we looked.
    saved = read_saved(saved.folder) or saved
    try:
        async with ways_to(saved) as ways:
            if saved.has_ended:
                await _fetch(record, saved, ways.lines, emit)
                return
            if recipe is not None and record.recipe is not None:
                record.recipe = recipe
            if record.recipe is not None:
                record.recipe = record.recipe.at(ways.hosts)
            lines = ways.lines[: len(saved.plan.nodes)]
            await mind(record, lines, emit, Interrupts(), ways.options)
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
        for node, line in zip(saved.nodes, lines, strict=True)
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


@dataclass(frozen=True)
class Ways:
    """How a run's nodes are reached: the way to each that has or had a share of it, in node order.

    None is connected yet. `hosts` are those that are elsewhere than the run's record has them.
    """

    lines: list[Line]
    options: ConnectOptions
    hosts: Mapping[str, Host]


@asynccontextmanager
async def ways_to(saved: Saved) -> AsyncIterator[Ways]:
    """Give the ways to the run's nodes; they are closed when the context ends."""
    settings = saved.settings
    hosts: dict[str, Host] = {}
    options = ConnectOptions(timeout=settings.connect_timeout, accept_new=settings.accept_new)
    async with AsyncExitStack() as stack:
        if settings.embedded is not None:
            from orchestrator.remote.local import LocalCluster

            cluster = await stack.enter_async_context(
                LocalCluster(settings.embedded.count, settings.embedded.root)
            )
            hosts.update((host.name, host) for host in cluster.hosts)
            options = cluster.options
        options = watchful(options, settings.node_timeout)
        dialer = Dialer(options)
        lines = [Line(hosts.get(node.name, node.host), dialer) for node in saved.nodes]
        try:
            yield Ways(lines, options, hosts)
        finally:
            await dialer.close()
            await asyncio.gather(*(line.close() for line in lines))
