"""Run checks on the nodes of a plan before the launch."""

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

_MAX_WARNINGS = 5  # shown by a launch


async def run_checks(
    fleet: Fleet, context: Context, checks: Sequence[Check], emit: events.Emit
) -> Report:
    """Return the findings of `checks` on the nodes of `context`, the same as those of `fleet`.

    A quick preflight is one phase; otherwise each slow step is a phase.
    """
    if context.level is Level.QUICK:
        with Phase("preflight", context.names, emit) as phase:
            report = judge(await measure(fleet, context, checks, _silently), checks)
            warned = dict.fromkeys(check.id for check, _ in report.having(Status.WARN))
            phase.detail = f"{Status.WARN}: {', '.join(warned)}" if warned else ""
        return report

    @contextmanager
    def begin(title: str) -> Iterator[Advance]:
        with Phase(title, context.names, emit) as phase:
            yield phase.advance

    return judge(await measure(fleet, context, checks, begin), checks)


async def require_checks(fleet: Fleet, context: Context, emit: events.Emit) -> None:
    """Run the checks of the context's level and emit their warnings.

    Raises PreflightError, with the remedies, if one fails.
    """
    checks: Sequence[Check] = quick.CHECKS
    if context.level is not Level.QUICK:
        from orchestrator.preflight.registry import select  # slow to import

        checks = select(context.level)
    report = await run_checks(fleet, context, checks, emit)
    if report.status.badness < Status.WARN.badness:
        return
    from orchestrator.preflight.messages import groups, lines

    if report.status is Status.FAIL:
        raise PreflightError("\n".join(["preflight failed; nothing was started", *lines(report)]))
    warnings = list(groups(report, Status.INCOMPLETE, Status.WARN))
    for first, *more in warnings[:_MAX_WARNINGS]:
        emit(events.Warned("\n".join([f"preflight: {first}", *more])))
    if (left := len(warnings) - _MAX_WARNINGS) > 0:
        emit(events.Warned(f"preflight: {left} more; `orch preflight` shows them all"))


@contextmanager
def _silently(title: str) -> Iterator[Advance]:
    yield lambda node, succeeded: None
