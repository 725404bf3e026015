"""`orch diagnose`: why a run failed, or the program that wrote a log."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import complete, options


def diagnose(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|FILE",
            help="A run's name or a unique prefix of it; or log files, folders of them, or - for "
            "standard input.  [default: the latest run]",
            show_default=False,
            autocompletion=complete.runs_and_files,
        ),
    ] = None,
    attempt: Annotated[
        int | None,
        typer.Option(metavar="K", min=0, help="Diagnose attempt K of a run.  [default: the last]"),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Show all in full: consequences, hints, harmless noise, every place."
        ),
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Explain a failure by its id, such as cuda.memory, and exit."
        ),
    ] = None,
    output: Annotated[
        options.TextOrJson, typer.Option(help="text: causes first; json: one object with all.")
    ] = "text",
) -> None:
    """Say what made a run fail, or the program that wrote a log.

    \b
    Examples:
      orch diagnose
      orch diagnose train-lusab --all
      orch diagnose slurm-4711.out
      orch diagnose lightning_logs/ node*.log.gz
      kubectl logs job/train | orch diagnose -
      orch diagnose --output json | jq -r '.hits[] | select(.kind == "root") | .id'
      orch diagnose --explain nccl.watchdog

    Compares logs with the failures that orch knows. For each that is found: which ranks had it, the first
    line that shows it, its cause, what to do, and the preflight check that finds it before a launch. What
    merely followed from it comes last, in one line.

    The logs of a run are the copies on this machine, refreshed from the nodes that can be reached; how its
    ranks ended counts too. Files may come from any launcher: rank prefixes of torchrun, srun, mpirun and
    pdsh are understood, and *.gz is unpacked. A word that exists, or has a slash, is a file; any other
    word is a run.

    Exits with 0 if a cause is found, 1 if none is known, 2 if there is no such run or file.
    """
    import asyncio
    import sys
    from contextlib import closing

    from orchestrator import events
    from orchestrator.api import diagnose as use_case
    from orchestrator.api.refresh import refresh, shortcomings
    from orchestrator.errors import UsageError
    from orchestrator.ui.diagnose import DiagnosisView, Progress, explain_signature, show
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.util.process import resume_gc

    if explain is not None:
        explain_signature(use_case.find_signature(explain), output)
        return
    words = tuple(what or ())
    saved, printer = use_case.find_target(words), EventPrinter()
    if saved is None:
        if attempt is not None:
            raise UsageError("--attempt is of a run; these are files")
        resume_gc()
        found = use_case.find_logs(words)
        with closing(Progress(len(found.logs))) as progress:
            examined = use_case.examine(found.logs, None, progress)
        if found.logs and not examined.files:
            raise UsageError("\n".join(examined.problems))
        incomplete = [f"left out: {sentence}" for sentence in found.left_out]
        view = DiagnosisView(examined, left_out=found.left_out)
    else:
        count = len(use_case.logs_of(saved, attempt))  # raises before anything is waited for
        resume_gc()
        if use_case.is_own(saved):  # a folder copied from elsewhere is read as it is
            saved = asyncio.run(refresh(saved, printer))
        with closing(Progress(count)) as progress:
            examined = use_case.examine_run(saved, attempt, progress)
        incomplete = shortcomings(saved)
        view = DiagnosisView(examined, use_case.describe_run(saved, attempt, examined))
    for problem in examined.problems:
        printer(events.Warned(problem))
    for sentence in incomplete:
        printer.say(sentence, "yellow")
    show(view, output, everything=everything)
    sys.exit(0 if view.explains else 1)
