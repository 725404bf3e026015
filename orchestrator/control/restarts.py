"""Supervise a run; on failure restart the whole gang, up to `restarts` times.

Every controller does it through this: the launch at a terminal, and the one in the background.

watch -> fetch -> it has failed, and may be restarted -> connect to the nodes that are left, and to spares
-> prove that the attempt is gone -> rendezvous -> plan -> upload (to a spare) -> quick checks -> start
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from orchestrator import events
from orchestrator.control.departed import DepartedNodes
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.log_events import log_event
from orchestrator.control.results import fetch_at_end, tell_of_files
from orchestrator.control.run import Run
from orchestrator.control.start import start
from orchestrator.control.verdict import Verdict, how_stopped, stopped_code
from orchestrator.errors import Interrupted, LaunchError, OrchError
from orchestrator.inventory import Host, Main
from orchestrator.pipeline.connect import connect_available
from orchestrator.pipeline.phase import Phase
from orchestrator.pipeline.prepare import plan_job, prepare
from orchestrator.plan import Facts, Plan
from orchestrator.preflight.level import Level
from orchestrator.reasons import Stop
from orchestrator.remote.base import Transport
from orchestrator.remote.connection import NodeConnection, close_all
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.disk_room import write_within
from orchestrator.runs.folder import FILES
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Attempt
from orchestrator.runs.stop_request import find_stop_request, stop_requests
from orchestrator.util.text import first_line

FAILED_UNSEEN = "not restarted: it had failed before this controller took over"

_LOOK_FOR_ROOM = 2.0  # seconds
_NO_ROOM = 60.0  # seconds for which an attempt that cannot be put on record waits to begin

T = TypeVar("T")


async def supervise(
    record: Record,
    connections: Sequence[NodeConnection],
    emit: events.Emit,
    interrupts: Interrupts,
    transport: Transport,
    *,
    took_over: bool = False,
) -> Verdict:
    """Mind the run whose record we hold, attempt after attempt, and return how the last one ended.

    `lines` lead to the nodes of the plan on record, and are closed; `transport` makes others.
    `took_over` says that another controller has died before: what had failed when we came is not started
    again, for whoever has us start may only be looking. Raises Detached when another controller is to
    take over.
    """

    def tell(event: events.Event) -> None:
        log_event(event)
        with suppress(OSError):  # a full disk here keeps no run from being started again
            record.note(event)
        emit(event)

    former = DepartedNodes(record, transport, tell)
    writing = asyncio.create_task(_write_rest(record))
    try:
        while True:
            former.look_after()
            run = Run(record, connections, emit, interrupts)
            verdict, why_last = await _watch(run, record, interrupts, took_over=took_over)
            number = len(record.failed) + 1
            half_started: tuple[str, ...] = ()
            await fetch_at_end(record, connections[0], interrupts, tell)
            if why_last is None:
                number = len(record.failed)
                try:
                    others = await _restart(record, interrupts, transport, tell)
                    await close_all(connections)
                    connections, took_over = others, False
                    continue
                except _Over as over:
                    verdict, why_last = replace(verdict, **over.changes), str(over)
                    if not record.is_between_attempts:  # some nodes may have ranks' output of it
                        half_started = tuple(node.name for node in record.plan.nodes)
            if run.latest_attempt == record.attempt:
                verdict = describe_end(record, verdict, why_last, number)
            else:  # how many there were is not known
                record.attempt = run.latest_attempt
                verdict = _with_why(verdict, why_last)
            await tell_of_files(record, connections[0], tell)
            await run.conclude(verdict, also_missing=half_started + former.missing)
            return verdict
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await former.close()
        await close_all(connections)


async def _write_rest(record: Record) -> None:
    """Write what there was no room for as soon as there is; does not return."""
    while True:
        await asyncio.sleep(_LOOK_FOR_ROOM)
        with suppress(OSError):  # the disk is still full
            record.write_rest()


class _Over(Exception):
    """No other attempt is begun; the argument says why. `changes` is what else the verdict is now."""

    def __init__(self, why: str, **changes: Any) -> None:
        super().__init__(why)
        self.changes = changes


async def _watch(
    run: Run, record: Record, interrupts: Interrupts, *, took_over: bool
) -> tuple[Verdict, str | None]:
    """Return how the attempt ended, and why it is the last; None if it is not, empty if that is clear."""
    if record.is_between_attempts:  # so the controller until now has seen
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
        return verdict, f"not started again: only the orch that was left knew the values of {names}"
    if run.latest_attempt > record.attempt:
        return verdict, "not restarted: its nodes have had an attempt that is not on record"
    if took_over and not run.saw_fail(verdict):
        return verdict, FAILED_UNSEEN
    seen = [rank.attempt for node in run.followers for rank in node.state.ranks.values()]
    lost = tuple(
        node.name
        for node in run.followers
        if node.gone is not None or not node.has_ended or node.name in verdict.left
    )
    last = max([record.attempt, *seen])
    with suppress(OSError):  # no other attempt begins before it is written
        record.fail(
            Attempt(
                record.attempt, last, began, time.time(), verdict.exit_code, verdict.summary, lost
            )
        )
    return verdict, None


def describe_end(record: Record, verdict: Verdict, why_last: str, number: int) -> Verdict:
    """Return the verdict with the `number` of its attempt, from 1, where more than one was allowed."""
    spec = record.spec
    if spec is None or spec.restarts == 0:
        return verdict
    if verdict.exit_code == 0 and number == 1:
        return verdict
    how = f"{verdict.how} (attempt {number} of {spec.restarts + 1})"
    return _with_why(replace(verdict, how=how), why_last)


def _with_why(verdict: Verdict, why_last: str) -> Verdict:
    return replace(verdict, detail=f"{verdict.detail}; {why_last}") if why_last else verdict


# -- the next attempt -----------------------------------------------------------------------------


async def _restart(
    record: Record, interrupts: Interrupts, transport: Transport, tell: events.Emit
) -> list[NodeConnection]:
    """Start the next attempt and return the ways to its nodes. Raises _Over when there is none."""
    assert record.spec is not None
    failed = record.failed[-1]
    count, of = len(record.failed) + 1, record.spec.restarts + 1
    tell(events.Restarting(count, of, failed.summary))
    try:
        made_ready = _make_ready(record, record.spec, transport, tell)
        fleet, facts, plan = await _unless_stopped(made_ready, record, interrupts)
        connections = fleet.connections()
        skews = {h.name: f.clock_skew for h, f in zip(fleet.hosts, facts, strict=True)}
        begin = partial(record.begin_attempt, plan, failed.last + 1, skews)
        try:
            await _unless_stopped(_put_on_record(begin, record, tell), record, interrupts)
            with Phase("start", (node.name for node in plan.nodes), tell):
                await start(plan, connections, record.settings, record.attempt)
        except BaseException:
            await close_all(connections)
            raise
    except _NoSpare as error:
        raise _Over(error.message) from None
    except OrchError as error:
        tell(events.Warned(f"attempt {count} of {of} could not be started: {error}"))
        first = first_line(error.message)
        raise _Over(f"attempt {count} could not be started: {first}") from None
    return connections


async def _put_on_record(begin: Callable[[], None], record: Record, tell: events.Emit) -> None:
    """Write that an attempt begins, or raise LaunchError: one of which nobody knows could go astray."""
    message = f"it cannot be recorded in {record.folder}"

    def say(error: OSError) -> None:
        tell(events.Warned(f"no attempt begins: {message}: {error.strerror}"))

    try:
        await write_within(_NO_ROOM, begin, on_wait=say)
    except OSError as error:
        raise LaunchError(f"{message}: {error.strerror}", remedy="make room there") from None


class _NoSpare(LaunchError):
    """A node is lost, and there is no spare to take its place."""


async def _unless_stopped(
    work: Coroutine[Any, Any, T], record: Record, interrupts: Interrupts
) -> T:
    """Return what `work` returns, unless a person stops the run meanwhile: then raise _Over."""
    working = asyncio.ensure_future(interrupts.abort(work))
    stop = asyncio.ensure_future(anext(stop_requests(record.folder)))
    try:
        await asyncio.wait([working, stop], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        stopped = Stop(stop.result().reason)
    except Interrupted:
        stopped = Stop(interrupts.reason)
    finally:
        for task in (working, stop):
            task.cancel()
        await asyncio.gather(working, stop, return_exceptions=True)
    how, detail = how_stopped(stopped)
    raise _Over(
        "",
        exit_code=stopped_code(stopped),
        how=how,
        detail=detail,
        first_failure=None,
        outcome="stopped",
        stop=stopped,
    )


async def _make_ready(
    record: Record, spec: LaunchSpec, transport: Transport, tell: events.Emit
) -> tuple[Fleet, list[Facts], Plan]:
    """Do all that comes before the first process of the next attempt is started."""
    known = {host.name: host for host in (*spec.hosts, *spec.spares)}
    used = {node.name for node in (*record.plan.nodes, *record.former)}
    lost = record.failed[-1].lost
    places = {
        node.name: None if node.name in lost else known[node.name] for node in record.plan.nodes
    }
    spares = [host for host in spec.spares if host.name not in used]
    fleet, facts = await _reach(places, spares, transport, tell)
    try:
        names = [host.name for host in fleet.hosts]
        await _prove_gone(fleet, record.plan.run)
        if names[0] != record.plan.nodes[0].name:  # what was said of main's address was the other's
            job = replace(spec.job, main_address=None)
            spec = replace(spec, job=job, main=Main(port=spec.main.port))
        plan = await plan_job(fleet, facts, spec, record.plan.run, tell)
        tell(events.Planned(plan))
        level = Level.QUICK if spec.preflight else None
        nodes = (*record.former, *record.plan.nodes)
        folders = {node.name: node.workdir for node in nodes if node.name in names}
        plan, _ = await prepare(
            fleet, facts, plan, spec, level, tell, folders=folders, copy=record.folder / FILES
        )
    except BaseException:
        await fleet.close()
        raise
    return fleet, facts, plan


async def _reach(
    places: dict[str, Host | None],
    spares: Sequence[Host],
    transport: Transport,
    tell: events.Emit,
) -> tuple[Fleet, list[Facts]]:
    """Reach a host for each of `places`: the one that has it, else a spare; return them in this order.

    Raises _NoSpare when there is none for a place.
    """
    there = [host for host in places.values() if host is not None]
    asked = [*there, *(spares if len(there) < len(places) else ())]
    if not asked:
        raise _NoSpare(_no_spare(places))
    fleet = Fleet(asked, transport)
    try:
        facts, failures = await connect_available(fleet, tell)
        away = {failure.node for failure in failures}
        if away.intersection(places) and len(asked) == len(there) and spares:
            await fleet.close()
            left = {name: None if name in away else host for name, host in places.items()}
            return await _reach(left, spares, transport, tell)
        reached = {agent.node.name: agent for agent in fleet.agents}
        known = dict(zip(reached, facts, strict=True))
        free = [name for name in reached if name not in places]
        taken = [name if name in reached else free.pop(0) if free else None for name in places]
        if None in taken:
            empty = [name for name, by in zip(places, taken, strict=True) if by is None]
            raise _NoSpare(_no_spare(empty))
        chosen = [name for name in taken if name is not None]
        for name, by in zip(places, chosen, strict=True):
            if name != by:
                tell(events.Warned(f"{by} takes the place of {name}"))
        await fleet.narrow([reached[name] for name in chosen])
        return fleet, [known[name] for name in chosen]
    except BaseException:
        await fleet.close()
        raise


def _no_spare(places: Sequence[str] | dict[str, Host | None]) -> str:
    return f"no spare host is left to take the place of {', '.join(places)}"


async def _prove_gone(fleet: Fleet, run: str) -> None:
    """See that no process of an earlier attempt is left on any node. Raises LaunchError."""
    answers = await fleet.ask_all(
        "sweep", lambda index: {"run": run, "node": fleet.hosts[index].name}
    )
    for host, answer in zip(fleet.hosts, answers, strict=True):
        if not isinstance(answer, dict) or answer.get("left") != []:
            raise LaunchError(f"{host.name}: processes of the attempt that failed are left there")
