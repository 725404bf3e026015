"""The end of a run: reach a verdict, explain a failure, and record both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from orchestrator import events
from orchestrator.control.explain import SelfReports, explain
from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.control.follower import Follower
from orchestrator.control.inquiry import Inquiry
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.verdict import Verdict, judge
from orchestrator.plan import Plan
from orchestrator.reasons import Stop
from orchestrator.runs.disk_space import write_within
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Ending

_WRITE_TIMEOUT = 10.0  # seconds for which a full disk may delay the record of the end
_BACKGROUND_WRITE_TIMEOUT = 600.0  # the same for a controller that nobody waits for


async def reach_verdict(
    record: Record,
    nodes: Sequence[Follower],
    plan: Plan,
    states: Sequence[NodeState],
    stopped: Stop | None,
    inquiry: Inquiry,
    emit: events.Emit,
) -> Verdict:
    """Return how a run ended, with an explanation if it failed.

    `plan` and `states` are those of the nodes that the run still needs; `stopped` is why this controller
    stopped it, None if it did not; `inquiry` has what was asked about ranks that failed.
    """
    try:
        verdict = judge(plan, states, stopped, SelfReports(record.logs))
        if verdict.first_failure is not None:
            _warn_of_signatures(emit)
            explained = await _explain(record, nodes, plan, verdict.first_failure, inquiry)
            verdict = replace(verdict, explained=explained)
    except Exception as error:  # the output of ranks must not prevent the end of the run
        emit(events.Warned(f"why the run failed cannot be explained: {error!r:.200}"))
        verdict = judge(plan, states, stopped)
    for name, pids in verdict.left.items():
        numbers = ", ".join(map(str, pids))
        emit(events.Warned(f"{name}: could not be killed: process {numbers}"))
    return verdict


def _warn_of_signatures(emit: events.Emit) -> None:
    """Report the signatures of the site that cannot be used."""
    from orchestrator.diagnose.site_signatures import site_signatures  # slow to import

    for problem in site_signatures().problems:
        emit(events.Warned(problem))


async def _explain(
    record: Record,
    nodes: Sequence[Follower],
    plan: Plan,
    failure: FirstFailure,
    inquiry: Inquiry,
) -> events.Explained:
    states = {node.name: node.state for node in nodes}
    if all(node.name != failure.node for node in plan.nodes):  # it has left the run
        plan = record.plan
    evidence = await inquiry.evidence(plan, failure)
    source, uneven = record.settings.source, record.state().uneven
    return explain(plan, states, failure, record.logs, evidence, source, uneven)


async def record_end(
    record: Record,
    nodes: Sequence[Follower],
    verdict: Verdict,
    also_missing: tuple[str, ...],
    interrupts: Interrupts,
    emit: events.Emit,
) -> None:
    """Record and report that the run has ended with `verdict`: no other attempt follows.

    Waits for a full disk for a while. `also_missing` are nodes of other attempts with incomplete logs.
    """
    incomplete = [node.name for node in nodes if not node.has_all]
    missing = tuple(dict.fromkeys((*incomplete, *also_missing)))
    reported = {node.name for node in nodes if node.is_cut}
    names = ", ".join(name for name in missing if name not in reported)
    run = record.plan.run
    if names:
        emit(
            events.Warned(
                f"the logs of {names} are not complete here; `orch logs {run}` fetches what is there"
            )
        )
    if verdict.explained is not None:
        emit(verdict.explained)
    ending = Ending(
        exit_code=verdict.exit_code,
        summary=verdict.summary,
        detail=verdict.detail,
        outcome=verdict.outcome,
        missing=missing,
        verdict=verdict.explained,
        stop=verdict.stop,
    )
    await _write(record, ending, interrupts, emit)
    emit(
        events.Ended(
            run,
            verdict.exit_code,
            time.time() - record.began,
            verdict.summary,
            record.folder,
            verdict.stop,
            verdict.detail,
        )
    )


async def _write(record: Record, ending: Ending, interrupts: Interrupts, emit: events.Emit) -> None:
    """Write how the run ended; if that fails, report who will write it."""
    timeout = _BACKGROUND_WRITE_TIMEOUT if record.background else _WRITE_TIMEOUT
    count = interrupts.count

    def on_wait(error: OSError) -> None:
        message = f"the end of the run cannot be recorded in {record.folder}"
        emit(events.Warned(f"{message}: {error.strerror}; trying for {timeout:g} s"))

    try:
        await write_within(
            timeout,
            partial(record.write_state, "ended", ending),
            on_wait=on_wait,
            give_up=lambda: interrupts.count > count,
        )
    except OSError as error:
        run = record.plan.run
        emit(
            events.Warned(
                f"run {run} has ended, but is recorded as running: {error.strerror}; "
                f"free disk space, then `orch status {run}` records its end"
            )
        )
