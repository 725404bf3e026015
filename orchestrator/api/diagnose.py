"""The use case: why a run failed, or whatever program wrote a log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator import events
from orchestrator.api.refresh import refresh, shortcomings
from orchestrator.diagnose import Diagnosis
from orchestrator.diagnose.files import FoundLogs, find_logs
from orchestrator.diagnose.read import Examination, Log, ReadProgress, examine
from orchestrator.runs.evidence import evidence_of, logs_of, with_reasons
from orchestrator.runs.folder import runs_folder
from orchestrator.runs.saved_run import SavedRun

__all__ = [
    "Examination",
    "FoundLogs",
    "Log",
    "ReadProgress",
    "diagnose_run",
    "evidence_of",
    "examine",
    "examine_run",
    "find_logs",
    "is_own",
    "logs_of",
    "with_reasons",
]


async def diagnose_run(saved: SavedRun, attempt: int | None, emit: events.Emit) -> Diagnosis:
    """Return what an attempt's logs tell (None: the last), once the newest of them are here.

    `emit` is warned of what could not be read, or is missing. Raises UsageError for an attempt that was not
    made.
    """
    logs_of(saved, attempt)  # raises before anything is waited for
    saved = await refresh(saved, emit)
    examined = await asyncio.to_thread(examine_run, saved, attempt)
    for sentence in (*examined.problems, *shortcomings(saved)):
        emit(events.Warned(sentence))
    return examined.diagnosis


def examine_run(
    saved: SavedRun,
    attempt: int | None,
    on_progress: Callable[[ReadProgress], None] = lambda reading: None,
) -> Examination:
    """Diagnose an attempt from its logs on this machine; `on_progress` is called while they are read."""
    examined = examine(logs_of(saved, attempt), evidence_of(saved, attempt), on_progress)
    return with_reasons(examined, saved) if is_own(saved) else examined


def is_own(saved: SavedRun) -> bool:
    """Tell whether the run is one of this machine's, and not a folder that was copied from elsewhere."""
    return saved.folder.resolve().parent == runs_folder().resolve()
