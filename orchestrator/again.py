"""Mind a run to its end, and when it fails, start all of it again, as often as was asked for.

Whoever minds a run does it through this: the launch at a terminal, and a keeper in the background.

watch -> it has failed, and may begin again -> reach who is left, and spares -> prove that it is gone
-> meet -> plan -> spread (where a spare came) -> clear (quickly) -> start -> watch
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from orchestrator import events
from orchestrator.errors import Interrupted, LaunchError, OrchError
from orchestrator.inventory import Host, Main
from orchestrator.phase import Phase
from orchestrator.plan import Facts, Plan
from orchestrator.preflight.level import Level
from orchestrator.reach import reach_some
from orchestrator.ready import decide, prepare
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.line import Line
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.attempts import Attempt
from orchestrator.runs.former import Former
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.recipe import Recipe
from orchestrator.runs.record import Record
from orchestrator.runs.run import Run
from orchestrator.runs.start import start
from orchestrator.runs.verdict import Stopped, Verdict
from orchestrator.runs.wishes import find_wish, wait_for_wish

T = TypeVar("T")


async def mind(
    record: Record,
    lines: Sequence[Line],
    emit: events.Emit,
    interrupts: Interrupts,
    options: ConnectOptions,
) -> Verdict:
    """Mind the run whose record we hold, attempt after attempt, and return how the last one ended.

    `lines` lead to the nodes of the plan on record, and are closed; `options` says how others are made.
    Raises Detached when somebody else is to mind it.
    """

    def tell(event: events.Event) -> None:
        with suppress(OSError):  # a full disk here keeps no run from being started again
            record.note(event)
        emit(event)

    former = Former(record, options, tell)
    try:
        while True:
            former.look_after()
            run = Run(record, lines, emit, interrupts)
            verdict, why_last = await _watch(run, record, interrupts)
            if why_last is None:
                try:
                    others = await _begin_again(record, interrupts, options, tell)
                    await _hang_up(lines)
                    lines = others
                    continue
                except _Over as over:
                    verdict, why_last = replace(verdict, **over.changes), str(over)
            verdict = _in_words(record, verdict, why_last)
            run.conclude(verdict, also_missing=former.missing)
            return verdict
    finally:
        await former.close()
        await _hang_up(lines)


class _Over(Exception):
    """No other attempt is begun; the argument says why. `changes` is what else the verdict is now."""

    def __init__(self, why: str, **changes: Any) -> None:
        super().__init__(why)
        self.changes = changes


async def _watch(run: Run, record: Record, interrupts: Interrupts) -> tuple[Verdict, str | None]:
    """Return how the attempt ended, and why it is the last; None if it is not, empty if that is clear."""
    if record.is_between_attempts:  # so whoever minded it until now has seen
        failed = record.failed[-1]
        return Verdict(failed.exit_code, failed.summary, None, {}, ()), None
    began = time.time()
    verdict = await run.watch()
    is_stopped = interrupts.count > 0 or find_wish(record.folder) is not None
    if is_stopped or not run.has_failed(verdict):
        return verdict, ""
    recipe = record.recipe
    if recipe is None or len(record.failed) >= recipe.restarts:
        return verdict, ""
    if recipe.withheld:
        names = ", ".join(recipe.withheld)
        return verdict, f"not started again: only the orch that was left knew the values of {names}"
    seen = [rank.attempt for node in run.followers for rank in node.state.ranks.values()]
    lost = tuple(
        node.name
        for node in run.followers
        if node.gone is not None or not node.has_ended or node.name in verdict.left
    )
    last = max([record.attempt, *seen])
    with suppress(OSError):
        record.fail(
            Attempt(
                record.attempt, last, began, time.time(), verdict.exit_code, verdict.summary, lost
            )
        )
    return verdict, None


def _in_words(record: Record, verdict: Verdict, why_last: str) -> Verdict:
    """Return the verdict with the number of attempts that it took, where more than one was allowed."""
    recipe = record.recipe
    if recipe is None or recipe.restarts == 0:
        return verdict
    number = len(record.failed) + (0 if record.is_between_attempts else 1)
    if verdict.exit_code == 0 and number == 1:
        return verdict
    summary = f"{verdict.summary} (attempt {number} of {recipe.restarts + 1})"
    return replace(verdict, summary=f"{summary}; {why_last}" if why_last else summary)


# -- the next attempt -----------------------------------------------------------------------------


async def _begin_again(
    record: Record, interrupts: Interrupts, options: ConnectOptions, tell: events.Emit
) -> list[Line]:
    """Start the next attempt and return the ways to its nodes. Raises _Over when there is none."""
    assert record.recipe is not None
    failed = record.failed[-1]
    count, of = len(record.failed) + 1, record.recipe.restarts + 1
    tell(events.Restarting(count, of, failed.summary))
    try:
        made_ready = _make_ready(record, record.recipe, options, tell)
        fleet, facts, plan = await _unless_stopped(made_ready, record, interrupts)
        lines = fleet.lines()
        skews = {h.name: f.clock_skew for h, f in zip(fleet.hosts, facts, strict=True)}
        with suppress(OSError):
            record.begin_attempt(plan, failed.last + 1, skews)
        try:
            with Phase("start", (node.name for node in plan.nodes), tell):
                await start(plan, lines, record.settings, record.attempt)
        except BaseException:
            await _hang_up(lines)
            raise
    except _NoSpare as error:
        raise _Over(error.message) from None
    except OrchError as error:
        tell(events.Warned(f"attempt {count} of {of} could not be started: {error}"))
        first = error.message.splitlines()[0]
        raise _Over(f"attempt {count} could not be started: {first}") from None
    return lines


class _NoSpare(LaunchError):
    """A node is lost, and there is no spare to take its place."""


async def _unless_stopped(
    work: Coroutine[Any, Any, T], record: Record, interrupts: Interrupts
) -> T:
    """Return what `work` returns, unless a person stops the run meanwhile: then raise _Over."""
    working = asyncio.ensure_future(interrupts.abort(work))
    stop = asyncio.ensure_future(wait_for_wish(record.folder))
    try:
        await asyncio.wait([working, stop], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        stopped = Stopped.by_wish(stop.result().reason)
    except Interrupted:
        stopped = Stopped.by_signal(interrupts.signal or 0)
    finally:
        for task in (working, stop):
            task.cancel()
        await asyncio.gather(working, stop, return_exceptions=True)
    raise _Over("", exit_code=stopped.exit_code, summary=stopped.summary, culprit=None)


async def _make_ready(
    record: Record, recipe: Recipe, options: ConnectOptions, tell: events.Emit
) -> tuple[Fleet, list[Facts], Plan]:
    """Do all that comes before the first process of the next attempt is started."""
    known = {host.name: host for host in (*recipe.hosts, *recipe.spares)}
    used = {node.name for node in (*record.plan.nodes, *record.former)}
    lost = record.failed[-1].lost
    places = {
        node.name: None if node.name in lost else known[node.name] for node in record.plan.nodes
    }
    spares = [host for host in recipe.spares if host.name not in used]
    fleet, facts = await _reach(places, spares, options, tell)
    try:
        names = [host.name for host in fleet.hosts]
        await _prove_gone(fleet, record.plan.run)
        if names[0] != record.plan.nodes[0].name:  # what was said of main's address was the other's
            job = replace(recipe.job, main_address=None)
            recipe = replace(recipe, job=job, main=Main(port=recipe.main.port))
        plan = await decide(fleet, facts, recipe, record.plan.run, tell)
        tell(events.Planned(plan))
        level = Level.QUICK if recipe.preflight else None
        # All of the nodes have the same files: those of the launch, or where one is new, those of now.
        await prepare(fleet, facts, plan, recipe, level, tell, sync=not used >= set(names))
    except BaseException:
        await fleet.close()
        raise
    return fleet, facts, plan


async def _reach(
    places: dict[str, Host | None],
    spares: Sequence[Host],
    options: ConnectOptions,
    tell: events.Emit,
) -> tuple[Fleet, list[Facts]]:
    """Reach a host for each of `places`: the one that has it, else a spare; return them in this order.

    Raises _NoSpare when there is none for a place.
    """
    there = [host for host in places.values() if host is not None]
    asked = [*there, *(spares if len(there) < len(places) else ())]
    if not asked:
        raise _NoSpare(_no_spare(places))
    fleet = Fleet(asked, options)
    try:
        facts, failures = await reach_some(fleet, tell)
        away = {failure.node for failure in failures}
        if away.intersection(places) and len(asked) == len(there) and spares:
            await fleet.close()
            left = {name: None if name in away else host for name, host in places.items()}
            return await _reach(left, spares, options, tell)
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


async def _hang_up(lines: Sequence[Line]) -> None:
    await asyncio.gather(*(line.close() for line in lines))
