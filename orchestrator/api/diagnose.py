"""The use case: explain why a run failed, or a program by its log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import events
from orchestrator.api.refresh import refresh, shortcomings
from orchestrator.diagnose import SIGNATURES, Diagnosis, Kind, Signature
from orchestrator.diagnose.files import STDIN, FoundLogs, find_logs
from orchestrator.diagnose.read import Examination, Log, ReadProgress, examine
from orchestrator.diagnose.site_signatures import site_signatures
from orchestrator.errors import UsageError
from orchestrator.runs.evidence import evidence_of, logs_of, with_file_causes, with_seen_cause
from orchestrator.runs.folder import runs_folder
from orchestrator.runs.registry import LATEST, find_run, names_like
from orchestrator.runs.saved_run import SavedRun, load_run
from orchestrator.util.text import nearest, quoted

__all__ = [
    "DiagnosedRun",
    "Examination",
    "FoundLogs",
    "Log",
    "ReadProgress",
    "describe_run",
    "diagnose_run",
    "evidence_of",
    "examine",
    "examine_run",
    "find_logs",
    "find_signature",
    "find_target",
    "is_own",
    "logs_of",
]


@dataclass(frozen=True)
class DiagnosedRun:
    """What is known about a run besides its logs.

    `last_lines` is the command that shows the end of its logs, `workdirs` where its nodes have the script.
    `why` has a cause and a remedy that are in its record but not in logs, for example for a lost node. A
    run without a `first_failure` was stopped for the reason in the summary, so rank errors are no cause.
    `looked` says where on its node orch looked when it failed, and what it saw there.
    """

    run: str
    attempt: int
    summary: str
    logs: Path
    last_lines: str | None
    workdirs: tuple[str, ...]
    why: tuple[str, str] | None = None
    has_first_failure: bool = True
    succeeded: bool = False
    looked: tuple[str, ...] = ()


def find_signature(name: str) -> Signature:
    """Return the signature with this id, of orch or of the site. Raises UsageError if there is none."""
    known = {each.id: each for each in (*SIGNATURES, *site_signatures().signatures)}
    if name in known:
        return known[name]
    meant = nearest(name, list(known))
    raise UsageError(
        f"there is no failure with the id {quoted(name)}",
        remedy=f"did you mean {meant}?"
        if meant
        else "orch diagnose --output json shows the ids of what it found",
    )


def find_target(words: Sequence[str]) -> SavedRun | None:
    """Return the run that `words` name by name or folder, the latest if there are none; None for files.

    Raises UsageError for what is neither.
    """
    if not words:
        return find_run()
    if len(words) == 1:
        saved = load_run(Path(words[0]).absolute(), allow_untrusted=True)
        if saved is not None:  # `find_run` also checks the owner of a run of this machine
            return find_run(saved.folder.name) if is_own(saved) else saved
    unknown = [word for word in words if not _is_file(word)]
    if not unknown:
        return None
    word = unknown[0]
    if "/" in word:
        raise UsageError(f"there is no file {word!r}")
    if word != LATEST and not names_like(word):
        raise UsageError(
            f"there is neither a file nor a run {word!r}",
            remedy="orch runs shows the runs; a file is named by its path",
        )
    if len(words) > 1:
        raise UsageError(f"{word!r} is a run: name one run, or files")
    return find_run(word)


def _is_file(word: str) -> bool:
    try:
        return word == STDIN or Path(word).exists()
    except (OSError, ValueError):
        return "/" in word  # it may exist; reading it will tell


async def diagnose_run(saved: SavedRun, attempt: int | None, emit: events.Emit) -> Diagnosis:
    """Diagnose an attempt (None: the last) after copying its newest logs to this machine.

    `emit` gets warnings about logs that are missing or cannot be read. Raises UsageError if there was no
    such attempt.
    """
    logs_of(saved, attempt)  # raises before any waiting
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
    if is_own(saved):
        examined = with_file_causes(examined, saved)
    return with_seen_cause(examined, saved, attempt)


def describe_run(saved: SavedRun, attempt: int | None, examined: Examination) -> DiagnosedRun:
    """Return what to show about the run besides its examination."""
    number = saved.attempt if attempt is None else attempt
    failed = next((each for each in saved.failed if each.number <= number <= each.last), None)
    is_last = failed is None or number >= saved.attempt
    summary = saved.summary if is_last and saved.has_ended else saved.state
    why = saved.verdict if is_last else None
    best = examined.diagnosis.verdict
    logs_show_it = why is None or why.signature or (best is not None and best.kind is Kind.ROOT)
    return DiagnosedRun(
        run=saved.run,
        attempt=number,
        summary=failed.summary if failed is not None and not is_last else summary,
        logs=saved.logs,
        last_lines=f"orch logs {saved.run} --tail 20" if is_own(saved) else None,
        workdirs=tuple(dict.fromkeys(node.workdir for node in saved.nodes)),
        why=None if logs_show_it or why is None else (why.cause, why.fix),
        has_first_failure=why is not None or not (is_last and saved.has_ended),
        succeeded=is_last and saved.exit_code == 0,
        looked=() if why is None else why.looked,
    )


def is_own(saved: SavedRun) -> bool:
    """Tell whether the run belongs to this machine and is not a folder copied from elsewhere."""
    return saved.folder.resolve().parent == runs_folder().resolve()
