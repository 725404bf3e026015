"""The use case of the background controller: take over a run from its folder, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.restarts import FAILED_UNSEEN, describe_end, supervise
from orchestrator.control.verdict import Verdict
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.connections import connections_to
from orchestrator.runs.disk_room import write_within
from orchestrator.runs.event_log import EventReader
from orchestrator.runs.folder import EVENTS
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import SavedRun, load_run

_NO_ROOM = 600.0  # seconds for which the end of a run waits to be put on record
_FETCH_TIME = 60.0  # seconds within which a node must tell something new of what is missing


async def control_run(
    saved: SavedRun,
    spec: LaunchSpec | None = None,
    emit: events.Emit = lambda event: None,
    *,
    interrupts: Interrupts | None = None,
) -> None:
    """Mind the run to its end; of one that has ended, fetch the logs that are missing here.

    `spec` is how it is started again when it fails, the values of secrets in it, from the launch that
    hands it over. None: it had no controller any more; then it is started again as its record has it, and
    only if it fails while we watch. `interrupts` stop the run. Returns at once when it has a controller.
    """
    record = Record.reopen(saved)
    if record is None:
        return
    # Its controller until now may have seen it end since we looked.
    saved = load_run(saved.folder) or saved
    try:
        if spec is None and not saved.has_ended and (end := _known_end(record)) is not None:
            await _put_on_record(record, end)
            saved = load_run(saved.folder) or saved
        async with connections_to(saved) as (connections, transport):
            if saved.has_ended:
                await _fetch(record, saved, connections, emit)
                return
            if spec is not None and record.spec is not None:
                record.spec = spec
            connections = connections[: len(saved.plan.nodes)]
            heeded = interrupts or Interrupts()
            await supervise(record, connections, emit, heeded, transport, took_over=spec is None)
    finally:
        record.close()


@dataclass(frozen=True)
class _End:
    """How a run ended of which `run.json` does not say so."""

    exit_code: int
    summary: str
    explained: events.Explained | None
    stop: Stop | None = None
    detail: str = ""


def _known_end(record: Record) -> _End | None:
    """Return how the run has ended, where its folder tells; None where the nodes have to.

    Its controller had no room for it but in the event log, or died between two attempts.
    """
    told = [logged.event for logged in EventReader(record.folder / EVENTS).read()]
    explained = next(
        (event for event in reversed(told) if isinstance(event, events.Explained)), None
    )
    for event in reversed(told):
        if isinstance(event, events.Ended):
            return _End(event.exit_code, event.summary, explained, event.stop, event.detail)
    if not record.is_between_attempts:
        return None
    failed = record.failed[-1]
    verdict = Verdict(failed.exit_code, failed.summary, None, {}, ())
    verdict = describe_end(record, verdict, FAILED_UNSEEN, len(record.failed))
    return _End(verdict.exit_code, verdict.summary, None, detail=verdict.detail)


async def _put_on_record(record: Record, end: _End) -> None:
    """Write it, as soon as there is room. No log is known to be whole."""
    write = partial(
        record.write_state,
        "ended",
        exit_code=end.exit_code,
        summary=end.summary,
        detail=end.detail,
        missing=tuple(node.name for node in (*record.plan.nodes, *record.former)),
        verdict=end.explained,
        stop=end.stop,
    )
    await write_within(_NO_ROOM, write)


async def _fetch(
    record: Record, saved: SavedRun, connections: Sequence[NodeConnection], emit: events.Emit
) -> None:
    """Bring what is missing of the logs here, as far as the nodes can be reached, and end the run there."""

    def note(event: events.Event) -> None:
        with suppress(OSError):  # the disk is full: the logs tell as well
            record.note(event)
        emit(event)

    followers = [
        Follower(node, connection, record, note, lambda: None)
        for node, connection in zip(saved.nodes, connections, strict=True)
        if node.name in saved.missing
    ]
    for node in followers:
        # A node that was away when the run ended may have come back, and its ranks go on.
        await node.stop(Stop(StopReason.RUN_ENDED), saved.settings.grace)
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
