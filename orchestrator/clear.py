"""See that the way is clear: measure what the checks need on the nodes of a plan, and judge it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator import events
from orchestrator.errors import PreflightError
from orchestrator.phase import Phase
from orchestrator.preflight.measure import judge, measure
from orchestrator.preflight.model import Check, Level, Status
from orchestrator.preflight.registry import select
from orchestrator.preflight.report import Report
from orchestrator.preflight.scene import Advance, Scene
from orchestrator.preflight.words import lines
from orchestrator.remote.fleet import Fleet


async def clear(fleet: Fleet, scene: Scene, checks: Sequence[Check], emit: events.Emit) -> Report:
    """Return what `checks` find on the nodes of `scene`, which are those of `fleet`.

    A step that takes a while is a phase of its own; all of a quick preflight is one.
    """
    if scene.level is Level.QUICK:
        with Phase("preflight", scene.names, emit):
            return judge(await measure(fleet, scene, checks, _silently), checks)

    @contextmanager
    def begin(title: str) -> Iterator[Advance]:
        with Phase(title, scene.names, emit) as phase:
            yield phase.advance

    return judge(await measure(fleet, scene, checks, begin), checks)


async def require_clear(fleet: Fleet, scene: Scene, emit: events.Emit) -> None:
    """Raise PreflightError, with the remedies, when a check of the scene's level fails.

    What does not stop the launch is said in a line.
    """
    report = await clear(fleet, scene, select(scene.level), emit)
    if report.status is Status.FAIL:
        raise PreflightError("\n".join(["preflight failed; nothing was started", *lines(report)]))
    for status in (Status.WARN, Status.INCOMPLETE):
        if found := [check.id for check, _ in report.having(status)]:
            names = ", ".join(dict.fromkeys(found))
            emit(events.Warned(f"preflight: {status}: {names} (`orch preflight` says more)"))


@contextmanager
def _silently(title: str) -> Iterator[Advance]:
    yield lambda node, succeeded: None
