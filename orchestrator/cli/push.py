"""`orch push`: copy files from here to the working folders of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import complete, options


def push(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help=options.RUN_HELP,
            show_default=False,
            autocompletion=complete.runs,
        ),
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help="Files and folders below the current one.", show_default=False
        ),
    ],
    nodes: options.NodesOfRun = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files there that are newer.")
    ] = False,
) -> None:
    """Copy files and folders to the nodes of a run.

    \b
    Examples:
      orch push latest data/extra.csv
      orch push train-lusab conf/ vocab.json --nodes 'gpu[0-1]'

    Each gets the same path there, below the run's working folder, as here below the current one. A folder
    is copied without what its .gitignore and .orchignore leave out; a file that is named is always copied.
    Newer files there stay, and nothing is deleted. The run may be active: a file changes in one step.

    Exits with 0 if all is there, 125 if a node cannot be reached or files are missing there.
    """
    import asyncio
    import sys

    from orchestrator import events
    from orchestrator.api.interrupts import abortable
    from orchestrator.api.push import push as use_case
    from orchestrator.api.selection import find_run
    from orchestrator.cli.transfer import transfer_screen
    from orchestrator.errors import LaunchError, OrchError
    from orchestrator.util.text import counted

    saved = find_run(run)
    with transfer_screen("what has arrived is kept for the next push") as screen:
        here = Path.cwd()
        copying = use_case(saved, here, paths, screen, nodes=nodes, overwrite=overwrite)
        results = asyncio.run(abortable(copying))
        newer = "" if overwrite else " or is newer there (--overwrite replaces it)"
        for result in results:
            if not isinstance(result, OrchError):
                sent = counted(result.files, "file")
                screen.say(f"{result.node}: {sent} sent; the rest is there already{newer}")
                if result.warning is not None:
                    screen(events.Warned(result.warning))
        problems = [result for result in results if isinstance(result, OrchError)]
        screen.show_problems(problems)
    if problems:
        sys.exit(LaunchError.exit_code)
