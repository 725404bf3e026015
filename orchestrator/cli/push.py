"""`orch push`: bring files from here into the working folders of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import complete, options

if TYPE_CHECKING:
    from orchestrator.runs.saved_run import SavedRun
    from orchestrator.ui.fetching import TransferScreen


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
    nodes: Annotated[
        str | None,
        typer.Option(
            metavar="SEL",
            help="To these nodes only, such as 'gpu[0-3]'.",
            autocompletion=complete.nodes_of_run,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files there that are newer.")
    ] = False,
) -> None:
    """Bring files and folders to the nodes of a run.

    Each has the same path there, below the run's working folder, as here below the current one. Of a
    folder goes what its .gitignore and .orchignore leave in, and a file that is named always. What is
    newer there stays, and nothing is deleted. The run may go on: a file changes in one step.

    Exits with 0 when all is there, 125 when a node cannot be reached or not all has arrived.

    \b
    Examples:
      orch push latest data/extra.csv
      orch push train-lusab conf/ vocab.json --nodes 'gpu[0-1]'
    """
    import asyncio
    import sys

    from orchestrator.errors import Interrupted, LaunchError
    from orchestrator.runs.registry import find_run
    from orchestrator.ui.fetching import TransferScreen

    saved = find_run(run)
    screen = TransferScreen()
    try:
        is_complete = asyncio.run(_push(saved, paths, nodes, screen, overwrite=overwrite))
    except Interrupted as error:
        screen.say("interrupted; what has arrived is kept for the next push", "yellow")
        sys.exit(error.exit_code)
    finally:
        screen.close()
    if not is_complete:
        sys.exit(LaunchError.exit_code)


async def _push(
    saved: SavedRun,
    paths: Sequence[Path],
    nodes: str | None,
    screen: TransferScreen,
    *,
    overwrite: bool,
) -> bool:
    """Push the files, print the result of each node, and tell whether every node has all of them."""
    from orchestrator.api.push import push
    from orchestrator.api.selection import nodes_of
    from orchestrator.cli.signals import end_on_signals
    from orchestrator.control.interrupts import Interrupts
    from orchestrator.remote.grouped_errors import grouped_lines
    from orchestrator.sync import Pushed
    from orchestrator.util.text import counted

    interrupts = Interrupts()
    end_on_signals(interrupts)
    to = nodes_of(saved.plan, nodes)
    pushing = push(saved, Path.cwd(), tuple(paths), screen, nodes=to, overwrite=overwrite)
    results = await interrupts.abort(pushing)
    for result in results:
        if isinstance(result, Pushed):
            stay = "" if overwrite else ", or newer there (--overwrite replaces it)"
            what = counted(result.files, "file")
            screen.say(f"{result.node}: {what} sent; what did not go is there already{stay}")
            if result.warning is not None:
                screen.say(f"warning: {result.warning}", "yellow")
    problems = [result for result in results if not isinstance(result, Pushed)]
    for row in grouped_lines(problems):
        screen.say(row, "red")
    return not problems
