"""`orch diagnose`: why a run failed, or whatever wrote a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli import complete

if TYPE_CHECKING:
    from orchestrator.api.diagnose import Examination
    from orchestrator.runs.saved_run import SavedRun
    from orchestrator.ui.diagnose import DiagnosedRun, DiagnosisView, Progress


def _names(incomplete: str) -> list[str]:
    """Return the runs and files that a shell may complete `incomplete` to."""
    typed = Path(f"{incomplete}_")  # so that what ends with a slash keeps it
    folder, beginning = typed.parent, typed.name[:-1]
    try:
        there = sorted(path for path in folder.iterdir() if path.name.startswith(beginning))
    except OSError:
        there = []
    shown = [path for path in there if beginning or not path.name.startswith(".")]
    begun = incomplete.removesuffix(beginning)
    files = [f"{begun}{path.name}{'/' if path.is_dir() else ''}" for path in shown]
    return complete.runs(incomplete) + files


def diagnose(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run's name, or a beginning that no other has; or log files, folders of them, or - "
            "for standard input.  [default: the latest run]",
            show_default=False,
            autocompletion=_names,
        ),
    ] = None,
    attempt: Annotated[
        int | None,
        typer.Option(metavar="K", min=0, help="Of a run: its attempt K.  [default: the last]"),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="In full also what followed from it, hints, harmless noise, all places."
        ),
    ] = False,
    output: Annotated[
        Literal["text", "json"],
        typer.Option(help="text: causes first; json: one object, with everything."),
    ] = "text",
) -> None:
    """Say what made a run fail, or whatever wrote a log.

    Logs are compared with the failures that orch knows. For each that is found: which ranks had it, the
    first line that shows it, its cause, what to do, and the preflight check that would have told before
    the launch. What merely followed from it comes after it, in one line.

    Of a run, the copies of its logs on this machine are read, brought up to date as far as its nodes can
    be reached, and how its ranks ended counts as well. Files may come from any launcher: rank prefixes of
    torchrun, srun, mpirun and pdsh are understood, and *.gz is unpacked. What exists, or has a slash, is a
    file; anything else is a run.

    Exits with 0 when a cause is found, 1 when none is known, 2 when there is no such run or file.

    \b
    Examples:
      orch diagnose
      orch diagnose train-lusab --all
      orch diagnose slurm-4711.out
      orch diagnose lightning_logs/ node*.log.gz
      kubectl logs job/train | orch diagnose -
      orch diagnose --output json | jq -r '.hits[] | select(.kind == "root") | .id'
    """
    from orchestrator.errors import UsageError
    from orchestrator.ui.diagnose import show

    words = tuple(what or ())
    saved = _run_of(words)
    if saved is not None:
        view = _of_run(saved, attempt)
    elif attempt is not None:
        raise UsageError("--attempt is of a run; these are files")
    else:
        view = _of_files(words)
    show(view, output, everything=everything)
    sys.exit(0 if view.explains else 1)


def _run_of(words: Sequence[str]) -> SavedRun | None:
    """Return the run that is meant, by its name or its folder; None where files are.

    Raises UsageError for what is neither.
    """
    from orchestrator.api.diagnose import is_own
    from orchestrator.errors import UsageError
    from orchestrator.runs.registry import LATEST, find_run, names_like
    from orchestrator.runs.saved_run import load_run

    if not words:
        return find_run()
    if len(words) == 1:
        saved = load_run(Path(words[0]).absolute(), of_anyone=True)
        if saved is not None:
            # Of those of this machine more is done than to read them.
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
    from orchestrator.diagnose.files import STDIN

    try:
        return word == STDIN or Path(word).exists()
    except (OSError, ValueError):
        return "/" in word  # it may be there: reading it will tell


def _of_files(names: Sequence[str]) -> DiagnosisView:
    from orchestrator.api.diagnose import examine, find_logs
    from orchestrator.errors import UsageError
    from orchestrator.ui.diagnose import DiagnosisView
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.util.process import resume_gc

    resume_gc()
    found = find_logs(names)
    examined = _examined(len(found.logs), lambda progress: examine(found.logs, None, progress))
    if found.logs and not examined.files:
        raise UsageError("\n".join(examined.problems))
    tell = EventPrinter()
    for sentence in found.left_out:
        tell.say(f"left out: {sentence}", "yellow")
    return DiagnosisView(examined, left_out=found.left_out)


def _of_run(saved: SavedRun, attempt: int | None) -> DiagnosisView:
    import asyncio

    from orchestrator.api.diagnose import examine_run, is_own, logs_of
    from orchestrator.api.refresh import refresh, shortcomings
    from orchestrator.ui.diagnose import DiagnosisView
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.util.process import resume_gc

    count = len(logs_of(saved, attempt))  # raises before anything is waited for
    resume_gc()
    tell = EventPrinter()
    if is_own(saved):  # a folder that was copied from elsewhere is read as it is
        saved = asyncio.run(refresh(saved, tell))
    examined = _examined(count, lambda progress: examine_run(saved, attempt, progress))
    for sentence in shortcomings(saved):
        tell.say(sentence, "yellow")
    return DiagnosisView(examined, _summary(saved, attempt, examined))


def _examined(files: int, examine: Callable[[Progress], Examination]) -> Examination:
    """Return what is found in so many files, having shown progress, and said what cannot be read."""
    from orchestrator.ui.diagnose import Progress
    from orchestrator.ui.event_printer import EventPrinter

    progress = Progress(files)
    try:
        examined = examine(progress)
    finally:
        progress.close()
    tell = EventPrinter()
    for problem in examined.problems:
        tell.say(f"warning: {problem}", "yellow")
    return examined


def _summary(saved: SavedRun, attempt: int | None, examined: Examination) -> DiagnosedRun:
    from orchestrator.api.diagnose import is_own
    from orchestrator.diagnose import Kind
    from orchestrator.ui.diagnose import DiagnosedRun

    number = saved.attempt if attempt is None else attempt
    failed = next((each for each in saved.failed if each.number <= number <= each.last), None)
    is_last = failed is None or number >= saved.attempt
    summary = saved.summary if is_last and saved.has_ended else saved.state
    why = saved.verdict if is_last else None
    best = examined.diagnosis.verdict
    is_told = why is None or why.signature or (best is not None and best.kind is Kind.ROOT)
    return DiagnosedRun(
        run=saved.run,
        attempt=number,
        summary=failed.summary if failed is not None and not is_last else summary,
        logs=saved.logs,
        last_lines=f"orch logs {saved.run} --tail 20" if is_own(saved) else None,
        workdirs=tuple(dict.fromkeys(node.workdir for node in saved.nodes)),
        why=None if is_told or why is None else (why.cause, why.fix),
        has_first_failure=why is not None or not (is_last and saved.has_ended),
        succeeded=is_last and saved.exit_code == 0,
    )
