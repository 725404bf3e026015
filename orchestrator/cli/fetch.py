"""`orch fetch`: copy what a run has written to this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import complete, options

_NOT_IN_NAMES = set("/*?[!")  # characters that are in patterns, and in no name of a run


def fetch(
    run: options.Run = None,
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN",
            help="Only these files, such as 'checkpoints/' or '*.pt', as in .gitignore.  "
            "[default: all]",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy to this folder.  [default: ./RUN]"),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(
            metavar="SEL",
            help="From these nodes, each into DIR/NODE.  [default: from main's, into DIR itself]",
            autocompletion=complete.nodes_of_run,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files here that are newer.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be copied, and exit.")
    ] = False,
) -> None:
    """Copy the files that a run has written to this machine.

    \b
    Examples:
      orch fetch
      orch fetch train-lusab 'checkpoints/' --to results
      orch fetch '*.pt' '!*optimizer*' --nodes 'gpu[0-3]'
      orch fetch train-lusab --dry-run

    Copies what is new or has changed in the run's working folder since it began; the run may still be
    active. Files that are here already are not copied again, and a newer file here stays. After an
    interruption, the next fetch continues. A first word with a / or a wildcard is a PATTERN of the latest
    run, not a RUN.

    Exits with 0 if all is here, 125 if a node cannot be reached or files are missing; the files of the
    other nodes are copied nevertheless.
    """
    import asyncio
    import os
    import sys

    from orchestrator.api.fetch import fetch as use_case
    from orchestrator.api.interrupts import abortable
    from orchestrator.api.selection import find_run
    from orchestrator.cli.transfer import transfer_screen
    from orchestrator.errors import LaunchError, UsageError
    from orchestrator.ui.fetching import listing

    words = tuple(patterns or ())
    if run is not None and _NOT_IN_NAMES.intersection(run):
        words, run = (run, *words), None
    try:
        saved = find_run(run)
    except UsageError as error:
        if run is None:
            raise
        remedy = f"{error.remedy}; of the latest run: orch fetch latest {run}"
        raise UsageError(error.message, remedy=remedy) from None
    with transfer_screen("what has come is kept, and the next fetch continues") as screen:
        copying = use_case(
            saved, words, screen, to=to, nodes=nodes, overwrite=overwrite, dry_run=dry_run
        )
        results = asyncio.run(abortable(copying))
        screen.show_problems(result.problem for result in results if result.problem is not None)
        for result in results:
            if result.problem is None or result.files:
                screen.show(result.event, is_rehearsal=dry_run)
    if dry_run:
        files = [
            (os.path.relpath(result.folder / file.path), file.size)
            for result in results
            for file in result.files
        ]
        sys.stdout.buffer.write(listing(files).encode())
        sys.stdout.buffer.flush()
    if any(result.problem is not None for result in results):
        sys.exit(LaunchError.exit_code)
