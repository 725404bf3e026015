"""`orch diagnose`: why a run failed, or whatever wrote a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import names_of_runs


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
    return names_of_runs(incomplete) + files


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
      orch diagnose lusab --all
      orch diagnose slurm-4711.out
      orch diagnose lightning_logs/ node*.log.gz
      kubectl logs job/train | orch diagnose -
      orch diagnose --output json | jq -r '.hits[] | select(.kind == "root") | .id'
    """
    from orchestrator.cli import run_diagnose

    run_diagnose.run(run_diagnose.Arguments(tuple(what or ()), attempt, everything, output))
