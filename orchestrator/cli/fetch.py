"""`orch fetch`: bring what a run has written to this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import complete, options

if TYPE_CHECKING:
    from orchestrator.control.results import FetchOptions, FetchResult
    from orchestrator.runs.saved_run import SavedRun
    from orchestrator.ui.fetching import TransferScreen

_NOT_IN_NAMES = set("/*?[!")  # characters that no run's name has: such a word is a pattern


def fetch(
    run: options.Run = None,
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN",
            help="Only these files, such as 'checkpoints/' or '*.pt', in the syntax of .gitignore.  "
            "[default: all]",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Put them here.  [default: ./RUN]", show_default=False),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(
            metavar="SEL",
            help="Of these nodes, such as 'gpu[0-3]', each into DIR/NODE.  "
            "[default: of main's, into DIR itself]",
            show_default=False,
            autocompletion=complete.nodes_of_run,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files here that are newer.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be fetched, and exit.")
    ] = False,
) -> None:
    """Bring the files that a run has written to this machine.

    Those that are new or have changed in its working folder since it began; it does not matter whether
    the run goes on. What is here already is not fetched again, and a file here that is newer stays. After
    an interruption, the next fetch goes on where this one was. A first word with a / or a wildcard is a
    PATTERN of the latest run, not a RUN.

    Exits with 0 when all is here, 125 when a node cannot be reached or not all has come; the other nodes'
    files are fetched all the same.

    \b
    Examples:
      orch fetch
      orch fetch train-lusab 'checkpoints/' --to results
      orch fetch '*.pt' '!*optimizer*' --nodes 'gpu[0-3]'
      orch fetch train-lusab --dry-run
    """
    import asyncio
    import os
    import sys

    from orchestrator.api.selection import nodes_of
    from orchestrator.control.results import FetchOptions
    from orchestrator.errors import Interrupted, LaunchError, UsageError
    from orchestrator.sync.patterns import check_patterns
    from orchestrator.ui.fetching import TransferScreen, listing

    wanted_files = tuple(patterns or ())
    if run is not None and _NOT_IN_NAMES.intersection(run):
        wanted_files = (run, *wanted_files)
        run = None
    check_patterns(wanted_files)
    saved = _find(run)
    chosen = nodes_of(saved.plan, nodes, saved.former)
    folder = (to or Path(saved.run)).absolute()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {to or saved.run}: not a folder")
    screen = TransferScreen()
    try:
        results = asyncio.run(
            _fetch(saved, folder, FetchOptions(wanted_files, overwrite, dry_run), chosen, screen)
        )
    except Interrupted as error:
        screen.say("interrupted; what has come is kept, and the next fetch goes on there", "yellow")
        sys.exit(error.exit_code)
    finally:
        screen.close()
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


async def _fetch(
    saved: SavedRun,
    to: Path,
    wanted: FetchOptions,
    nodes: frozenset[str] | None,
    screen: TransferScreen,
) -> list[FetchResult]:
    """Fetch the files, and print the result of each node."""
    from orchestrator.api.fetch import fetch
    from orchestrator.cli.signals import end_on_signals
    from orchestrator.control.interrupts import Interrupts
    from orchestrator.remote.grouped_errors import grouped_lines

    interrupts = Interrupts()
    end_on_signals(interrupts)
    results = await interrupts.abort(fetch(saved, to, wanted, screen, nodes=nodes))
    problems = [result.problem for result in results if result.problem is not None]
    for row in grouped_lines(problems):
        screen.say(row, "red")
    for result in results:
        if result.problem is None or result.files:
            screen.show(result.event, is_rehearsal=wanted.dry_run)
    return results


def _find(name: str | None) -> SavedRun:
    """Return the run called `name`. Raises UsageError, which says how a pattern is written instead."""
    from orchestrator.errors import UsageError
    from orchestrator.runs.registry import find_run

    try:
        return find_run(name)
    except UsageError as error:
        if name is None:
            raise
        raise UsageError(
            error.message,
            remedy=f"{error.remedy}; of the latest run: orch fetch latest {name}",
        ) from None
