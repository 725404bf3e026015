"""The use case of the background controller: take over a run and supervise it to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.restarts import FAILED_UNSEEN, describe_end, supervise
from orchestrator.control.taken_nodes import give_back_nodes
from orchestrator.control.verdict import Verdict
from orchestrator.node.reasons import StopReason
from orchestrator.plan.masking import mask_in_logs
from orchestrator.reasons import Stop
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.background import read_launch_spec
from orchestrator.runs.connections import connections_to
from orchestrator.runs.disk_space import write_within
from orchestrator.runs.event_log import EventReader
from orchestrator.runs.folder import CONTROLLER_LOG, EVENTS
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Ending, SavedRun, load_run

_DISK_FULL_TIMEOUT = 600.0  # seconds to wait for disk space to record the end of a run
_FETCH_TIMEOUT = 60.0  # seconds without progress after which a node's missing logs are given up


def controller_log(saved: SavedRun) -> Path:
    """Return the file for the log of the run's background controller."""
    return saved.folder / CONTROLLER_LOG


def read_spec(stream: IO[bytes]) -> LaunchSpec | None:
    """Return how to restart a run, if its launch passes that on, and mask the secrets in all output."""
    spec = read_launch_spec(stream)
    if spec is not None:
        mask_in_logs(spec.job.environment, spec.job.secrets)
        for host in (*spec.hosts, *spec.spares):
            mask_in_logs(host.env)
    return spec


async def control_run(
    saved: SavedRun,
    spec: LaunchSpec | None = None,
    emit: events.Emit = lambda event: None,
    *,
    interrupts: Interrupts | None = None,
) -> None:
    """Control the run to its end; if it has ended, fetch the logs that are missing on this machine.

    `spec` is how to restart it, with the values of secrets, from the launch that passes it on. None: its
    controller died; then it is restarted from its record, and only if it fails from now on. `interrupts`
    stop the run. Returns at once if it has a controller.
    """
    record = Record.reopen(saved)
    if record is None:
        return
    # Its previous controller may have recorded its end since `saved` was read.
    saved = load_run(saved.folder) or saved
    try:
        if spec is None and not saved.has_ended and (end := _known_end(record)) is not None:
            await write_within(_DISK_FULL_TIMEOUT, partial(record.write_state, "ended", end))
            saved = load_run(saved.folder) or saved
        async with connections_to(saved) as (connections, transport):
            if saved.has_ended:
                await _fetch(record, saved, connections, emit)
                await give_back_nodes(transport, emit)
                return
            if spec is not None and record.spec is not None:
                record.spec = spec
            connections = connections[: len(saved.plan.nodes)]
            interrupts = interrupts or Interrupts()
            took_over = spec is None
            await supervise(record, connections, emit, interrupts, transport, took_over=took_over)
    finally:
        record.close()


def _known_end(record: Record) -> Ending | None:
    """Return how the run has ended according to its folder; None if only the nodes can say.

    Its controller could write the end only to the event log, or died between two attempts. Any log may be
    incomplete.
    """
    missing = tuple(node.name for node in (*record.plan.nodes, *record.former))
    past = [logged.event for logged in EventReader(record.folder / EVENTS).read()]
    explained = next(
        (event for event in reversed(past) if isinstance(event, events.Explained)), None
    )
    for event in reversed(past):
        if isinstance(event, events.Ended):
            return Ending(
                exit_code=event.exit_code,
                summary=event.summary,
                missing=missing,
                detail=event.detail,
                verdict=explained,
                stop=event.stop,
            )
    if not record.is_between_attempts:
        return None
    failed = record.failed[-1]
    verdict = Verdict(failed.exit_code, failed.summary, None, {}, ())
    verdict = describe_end(record, verdict, FAILED_UNSEEN, len(record.failed))
    return Ending(
        exit_code=verdict.exit_code,
        summary=verdict.summary,
        missing=missing,
        detail=verdict.detail,
    )


async def _fetch(
    record: Record, saved: SavedRun, connections: Sequence[NodeConnection], emit: events.Emit
) -> None:
    """Fetch the missing logs from the nodes that can be reached, and end the run there."""

    def note(event: events.Event) -> None:
        with suppress(OSError):  # the disk is full; the logs show it too
            record.note(event)
        emit(event)

    followers = [
        Follower(node, connection, record, note, lambda: None)
        for node, connection in zip(saved.nodes, connections, strict=True)
        if node.name in saved.missing
    ]
    for node in followers:
        # A node that was unreachable when the run ended may be back, with its ranks still running.
        await node.stop(Stop(StopReason.RUN_ENDED), saved.settings.grace)
    following = {asyncio.create_task(node.follow()): node for node in followers}
    pending = set(following)
    loop = asyncio.get_running_loop()
    while pending:
        await asyncio.wait(pending, timeout=0.5)
        pending = {
            task
            for task in pending
            if not task.done() and following[task].away_since is None
            and loop.time() - following[task].heard_at < _FETCH_TIMEOUT
        }  # fmt: skip
    for task in following:
        task.cancel()
    for result in await asyncio.gather(*following, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    with suppress(OSError):  # it is fetched again the next time
        record.amend(missing=tuple(node.name for node in followers if not node.has_all))
