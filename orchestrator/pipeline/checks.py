"""See that the way is clear: measure what the checks need on the nodes of a plan, and judge it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator import events
from orchestrator.errors import PreflightError
from orchestrator.pipeline.phase import Phase
from orchestrator.preflight import quick
from orchestrator.preflight.level import Level
from orchestrator.preflight.measure import judge, measure
from orchestrator.preflight.model import Advance, Check, Context, Status
from orchestrator.preflight.report import Report
from orchestrator.remote.fleet import Fleet

_MOST_WARNINGS = 5  # that a launch says before it starts


async def run_checks(
    fleet: Fleet, context: Context, checks: Sequence[Check], emit: events.Emit
) -> Report:
    """Return what `checks` find on the nodes of `context`, which are those of `fleet`.

    A step that takes a while is a phase of its own; all of a quick preflight is one.
    """
    if context.level is Level.QUICK:
        with Phase("preflight", context.names, emit) as phase:
            report = judge(await measure(fleet, context, checks, _silently), checks)
            phase.detail = _ids(report, Status.WARN)
        return report

    @contextmanager
    def begin(title: str) -> Iterator[Advance]:
        with Phase(title, context.names, emit) as phase:
            yield phase.advance

    return judge(await measure(fleet, context, checks, begin), checks)


async def require_checks(fleet: Fleet, context: Context, emit: events.Emit) -> None:
    """Raise PreflightError, with the remedies, when a check of the context's level fails.

    What does not stop the launch is said.
    """
    report = await run_checks(fleet, context, _checks_of(context.level), emit)
    if report.status is Status.FAIL:
        from orchestrator.preflight.messages import lines

        raise PreflightError("\n".join(["preflight failed; nothing was started", *lines(report)]))
    _tell_warnings(report, emit)


def _tell_warnings(report: Report, emit: events.Emit) -> None:
    """Say what does not stop the launch, each sentence once with all of its nodes, and what to do."""
    if report.status.badness < Status.WARN.badness:
        return
    from orchestrator.preflight.messages import groups

    told = list(groups(report, Status.INCOMPLETE, Status.WARN))
    for lines in told[:_MOST_WARNINGS]:
        emit(events.Warned("\n".join([f"preflight: {lines[0]}", *lines[1:]])))
    if (left := len(told) - _MOST_WARNINGS) > 0:
        emit(events.Warned(f"preflight: {left} more; `orch preflight` shows them all"))


def _checks_of(level: Level) -> Sequence[Check]:
    if level is Level.QUICK:
        return quick.CHECKS
    from orchestrator.preflight.registry import select  # many times as many

    return select(level)


def _ids(report: Report, status: Status) -> str:
    """Return the checks with findings of this status, in a few words."""
    found = dict.fromkeys(check.id for check, _ in report.having(status))
    return f"{status}: {', '.join(found)}" if found else ""


@contextmanager
def _silently(title: str) -> Iterator[Advance]:
    yield lambda node, succeeded: None
