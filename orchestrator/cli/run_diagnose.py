"""Turn the words of `orch diagnose` into a run or files, and show what is known of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.catch_up import catch_up, shortcomings
from orchestrator.cli.options import names_of_runs
from orchestrator.cli.tell import Teller
from orchestrator.diagnose import Evidence, Kind
from orchestrator.errors import UsageError
from orchestrator.examine import Examined, Log, evidence_of, examine, find_logs, logs_of
from orchestrator.examine.files import STDIN
from orchestrator.process import end_imports
from orchestrator.runs.folder import runs_folder
from orchestrator.runs.registry import find
from orchestrator.runs.saved import Saved, read_saved
from orchestrator.ui.diagnose import DiagnosisView, Progress, RunTold, show


@dataclass(frozen=True)
class Arguments:
    """The words of the command line, as typed."""

    what: tuple[str, ...]
    attempt: int | None
    everything: bool
    output: Literal["text", "json"]


def run(arguments: Arguments) -> None:
    """Carry out `orch diagnose`; exits with 1 when no cause is known."""
    saved = _run_of(arguments.what)
    if saved is not None:
        view = _of_run(saved, arguments.attempt)
    elif arguments.attempt is not None:
        raise UsageError("--attempt is of a run; these are files")
    else:
        view = _of_files(arguments.what)
    show(view, arguments.output, everything=arguments.everything)
    sys.exit(0 if view.explains else 1)


def _run_of(what: Sequence[str]) -> Saved | None:
    """Return the run that is meant, by its name or its folder; None where files are.

    Raises UsageError for what is neither.
    """
    if not what:
        return find()
    if len(what) == 1 and (saved := read_saved(Path(what[0]).absolute())) is not None:
        return saved
    unknown = [word for word in what if not _is_file(word)]
    if not unknown:
        return None
    word = unknown[0]
    if "/" in word:
        raise UsageError(f"there is no file {word!r}")
    if word != "latest" and not names_of_runs(word):
        raise UsageError(
            f"there is neither a file nor a run {word!r}",
            remedy="orch runs shows the runs; a file is named by its path",
        )
    if len(what) > 1:
        raise UsageError(f"{word!r} is a run: name one run, or files")
    return find(word)


def _is_file(word: str) -> bool:
    try:
        return word == STDIN or Path(word).exists()
    except (OSError, ValueError):
        return "/" in word  # it may be there: reading it will tell


def _of_files(names: Sequence[str]) -> DiagnosisView:
    end_imports()
    found = find_logs(names)
    examined = _examined(found.logs)
    if found.logs and not examined.files:
        raise UsageError("\n".join(examined.problems))
    tell = Teller()
    for sentence in found.left_out:
        tell.say(f"left out: {sentence}", "yellow")
    return DiagnosisView(examined, left_out=found.left_out)


def _of_run(saved: Saved, attempt: int | None) -> DiagnosisView:
    logs_of(saved, attempt)  # raises before anything is waited for
    end_imports()
    tell = Teller()
    if _is_ours(saved):  # a folder that was copied from elsewhere is read as it is
        saved = asyncio.run(catch_up(saved, tell))
    examined = _examined(logs_of(saved, attempt), evidence_of(saved, attempt))
    for sentence in shortcomings(saved):
        tell.say(sentence, "yellow")
    return DiagnosisView(examined, _told(saved, attempt, examined))


def _is_ours(saved: Saved) -> bool:
    return saved.folder.resolve().parent == runs_folder().resolve()


def _examined(logs: Sequence[Log], evidence: Evidence | None = None) -> Examined:
    progress = Progress(len(logs))
    try:
        examined = examine(logs, evidence, progress)
    finally:
        progress.close()
    tell = Teller()
    for problem in examined.problems:
        tell.say(f"warning: {problem}", "yellow")
    return examined


def _told(saved: Saved, attempt: int | None, examined: Examined) -> RunTold:
    number = saved.attempt if attempt is None else attempt
    failed = next((each for each in saved.failed if each.number <= number <= each.last), None)
    is_last = failed is None or number >= saved.attempt
    summary = saved.summary if is_last and saved.has_ended else saved.state
    why = saved.verdict if is_last else None
    best = examined.diagnosis.verdict
    is_told = why is None or why.signature or (best is not None and best.kind is Kind.ROOT)
    return RunTold(
        run=saved.run,
        attempt=number,
        summary=failed.summary if failed is not None and not is_last else summary,
        logs=saved.logs,
        last_lines=f"orch logs {saved.run} --tail 20" if _is_ours(saved) else None,
        workdirs=tuple(dict.fromkeys(node.workdir for node in saved.nodes)),
        why=None if is_told or why is None else (why.cause, why.fix),
        has_culprit=why is not None or not (is_last and saved.has_ended),
        succeeded=is_last and saved.exit_code == 0,
    )
