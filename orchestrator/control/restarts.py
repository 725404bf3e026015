"""Supervise a run; on failure restart all of its nodes, up to `restarts` times.

Both the launch at a terminal and the controller in the background use this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from orchestrator import events
from orchestrator.control.conclusion import record_end
from orchestrator.control.departed import DepartedNodes
from orchestrator.control.function_results import fetch_results_at_end
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.journal import Journal
from orchestrator.control.next_attempt import NextAttempt, NotRestarted
from orchestrator.control.results import fetch_at_end, report_files
from orchestrator.control.run import Run
from orchestrator.control.taken_nodes import give_back_nodes, verdict_on_taken_nodes
from orchestrator.control.verdict import Verdict
from orchestrator.remote.base import Transport
from orchestrator.remote.connection import NodeConnection, close_all
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Attempt
from orchestrator.runs.stop_request import find_stop_request

FAILED_UNSEEN = "not restarted: it had failed before this controller took over"

_DISK_RETRY_INTERVAL = 2.0  # seconds


async def supervise(
    record: Record,
    connections: Sequence[NodeConnection],
    emit: events.Emit,
    interrupts: Interrupts,
    transport: Transport,
    *,
    took_over: bool = False,
) -> Verdict:
    """Supervise the run of `record`, attempt after attempt, and return the verdict on the last one.

    `connections` are those to the nodes of its plan, closed at the end; `transport` opens new ones.
    `took_over`: an earlier controller died. Then a run that had failed before is not restarted, since the
    user may only want to see it. Raises Detached if another controller must take over.
    """
    emit = Journal(record, emit)
    departed = DepartedNodes(record, transport, emit)
    next_attempt = NextAttempt(record, transport, interrupts, emit)
    writing = asyncio.create_task(_write_pending(record))
    try:
        while True:
            departed.update()
            run = Run(record, connections, emit, interrupts)
            verdict, why_last = await _watch(run, record, interrupts, took_over=took_over)
            number = len(record.failed) + 1
            half_started: tuple[str, ...] = ()
            await fetch_at_end(record, connections[0], interrupts, emit)
            if why_last is None:
                assert record.spec is not None
                number = len(record.failed)
                try:
                    restarted = await next_attempt.start(record.spec)
                    await close_all(connections)
                    connections, took_over = restarted, False
                    continue
                except NotRestarted as error:
                    verdict, why_last = replace(verdict, **error.changes), str(error)
                    if not record.is_between_attempts:  # nodes may still have output of it
                        half_started = tuple(node.name for node in record.plan.nodes)
            if run.latest_attempt == record.attempt:
                verdict = describe_end(record, verdict, why_last, number)
            else:  # the number of attempts is unknown
                record.attempt = run.latest_attempt
                verdict = _with_why(verdict, why_last)
            await fetch_results_at_end(record, run.followers, interrupts, emit)
            await report_files(record, connections[0], emit)
            if verdict.exit_code != 0 and interrupts.count == 0:
                taken = await transport.why_taken(partial(close_all, connections))
                verdict = verdict if taken is None else verdict_on_taken_nodes(verdict, taken)
            missing = half_started + departed.missing
            await record_end(record, run.followers, verdict, missing, interrupts, emit)
            await give_back_nodes(transport, emit)
            return verdict
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await departed.close()
        await close_all(connections)


async def _write_pending(record: Record) -> None:
    """Write what a full disk has delayed once there is space, until cancelled."""
    while True:
        await asyncio.sleep(_DISK_RETRY_INTERVAL)
        with suppress(OSError):  # the disk is still full
            record.write_pending()


async def _watch(
    run: Run, record: Record, interrupts: Interrupts, *, took_over: bool
) -> tuple[Verdict, str | None]:
    """Return the verdict on the attempt, and why it is the last: None if not, empty if obvious."""
    if record.is_between_attempts:  # as the last controller has recorded
        failed = record.failed[-1]
        return Verdict(failed.exit_code, failed.summary, None, {}, ()), None
    began = time.time()
    verdict = await run.watch()
    is_stopped = interrupts.count > 0 or find_stop_request(record.folder) is not None
    if is_stopped or not run.has_failed(verdict):
        return verdict, ""
    spec = record.spec
    if spec is None or len(record.failed) >= spec.restarts:
        return verdict, ""
    if spec.withheld:
        names = ", ".join(spec.withheld)
        return verdict, f"not restarted: only the first controller had the values of {names}"
    if run.latest_attempt > record.attempt:
        return verdict, "not restarted: its nodes have had an attempt that is not on record"
    if took_over and not run.saw_fail(verdict):
        return verdict, FAILED_UNSEEN
    attempts = [rank.attempt for node in run.followers for rank in node.state.ranks.values()]
    lost = tuple(
        node.name
        for node in run.followers
        if node.gone is not None or not node.has_ended or node.name in verdict.left
    )
    attempt = Attempt(
        number=record.attempt,
        last=max([record.attempt, *attempts]),
        began=began,
        ended=time.time(),
        exit_code=verdict.exit_code,
        summary=verdict.summary,
        lost=lost,
    )
    with suppress(OSError):  # the next attempt does not start before this is written
        record.fail(attempt)
    return verdict, None


def describe_end(record: Record, verdict: Verdict, why_last: str, number: int) -> Verdict:
    """Return the verdict with the `number` of its attempt, from 1, if restarts were allowed."""
    spec = record.spec
    if spec is None or spec.restarts == 0 or (verdict.exit_code == 0 and number == 1):
        return verdict
    how = f"{verdict.how} (attempt {number} of {spec.restarts + 1})"
    return _with_why(replace(verdict, how=how), why_last)


def _with_why(verdict: Verdict, why_last: str) -> Verdict:
    return replace(verdict, detail=f"{verdict.detail}; {why_last}") if why_last else verdict
