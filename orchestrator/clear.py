"""See that the way is clear: measure what the checks need on the nodes of a plan, and judge it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator import events
from orchestrator.errors import PreflightError
from orchestrator.phase import Phase
from orchestrator.preflight import quick
from orchestrator.preflight.level import Level
from orchestrator.preflight.measure import judge, measure
from orchestrator.preflight.model import Check, Status
from orchestrator.preflight.report import Report
from orchestrator.preflight.scene import Advance, Scene
from orchestrator.remote.fleet import Fleet


async def clear(fleet: Fleet, scene: Scene, checks: Sequence[Check], emit: events.Emit) -> Report:
    """Return what `checks` find on the nodes of `scene`, which are those of `fleet`.

    A step that takes a while is a phase of its own; all of a quick preflight is one.
    """
    if scene.level is Level.QUICK:
        with Phase("preflight", scene.names, emit) as phase:
            report = judge(await measure(fleet, scene, checks, _silently), checks)
            phase.detail = _ids(report, Status.WARN)
        return report

    @contextmanager
    def begin(title: str) -> Iterator[Advance]:
        with Phase(title, scene.names, emit) as phase:
            yield phase.advance

    return judge(await measure(fleet, scene, checks, begin), checks)


async def require_clear(fleet: Fleet, scene: Scene, emit: events.Emit) -> None:
    """Raise PreflightError, with the remedies, when a check of the scene's level fails.

    What does not stop the launch is named.
    """
    report = await clear(fleet, scene, _checks_of(scene.level), emit)
    if report.status is Status.FAIL:
        from orchestrator.preflight.words import lines

        raise PreflightError("\n".join(["preflight failed; nothing was started", *lines(report)]))
    if missing := _ids(report, Status.INCOMPLETE):
        emit(events.Warned(f"preflight: {missing} (`orch preflight` says why)"))
    if scene.level is Level.FULL and (warnings := _ids(report, Status.WARN)):
        emit(events.Warned(f"preflight: {warnings} (`orch preflight` says more)"))


def _checks_of(level: Level) -> Sequence[Check]:
    if level is Level.QUICK:
        return quick.CHECKS
    from orchestrator.preflight.registry import CHECKS  # many times as many

    return CHECKS


def _ids(report: Report, status: Status) -> str:
    """Return the checks with findings of this status, in a few words."""
    found = dict.fromkeys(check.id for check, _ in report.having(status))
    return f"{status}: {', '.join(found)}" if found else ""


@contextmanager
def _silently(title: str) -> Iterator[Advance]:
    yield lambda node, succeeded: None
