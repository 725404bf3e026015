"""Nodes that something else lends for a time, as Slurm does: given back, or taken away before."""

from __future__ import annotations

import signal
from dataclasses import replace

from orchestrator import events
from orchestrator.control.first_failure import FirstFailure
from orchestrator.control.verdict import Verdict
from orchestrator.errors import LaunchError
from orchestrator.remote.base import NodesTaken, Transport
from orchestrator.runs.outcome import TIME_OUT, Outcome

_ENDS: dict[str, tuple[int, Outcome]] = {
    "cancelled": (128 + signal.SIGTERM, "stopped"),
    "ended": (128 + signal.SIGTERM, "stopped"),
    "node-failed": (1, "lost"),
    "preempted": (128 + signal.SIGTERM, "stopped"),
    "time-limit": (TIME_OUT, "stopped"),
}
_BY_FORCE = (128 + signal.SIGTERM, 128 + signal.SIGKILL)


def verdict_on_taken_nodes(verdict: Verdict, taken: NodesTaken) -> Verdict:
    """Return the verdict that says why the nodes were taken away, if that ended the run.

    A rank that failed by itself before stays the first failure.
    """
    if not _is_by_force(verdict.first_failure):
        return replace(verdict, detail=f"{verdict.detail}; {taken.text}")
    code, outcome = _ENDS[taken.kind]
    return replace(
        verdict,
        exit_code=code,
        how=taken.text,
        detail="",
        outcome=outcome,
        first_failure=None,
        explained=None,
    )


async def give_back_nodes(transport: Transport, emit: events.Emit) -> None:
    """Give back what was taken for a run that has ended; warn if that does not succeed."""
    try:
        await transport.release()
    except LaunchError as error:
        emit(events.Warned(str(error)))


def _is_by_force(failure: FirstFailure | None) -> bool:
    """Return whether what failed first was no rank, or one that a signal of an ending job killed."""
    return (
        failure is None
        or failure.rank is None
        or failure.end is None
        or failure.end.exit_code in _BY_FORCE
    )
