"""`orch runs`: the runs that this machine knows of, and forgetting old ones."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def runs(
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove runs that are over, here and on their nodes.")
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="With --prune: those that ended before then, such as 30d or 2026-01-31."
            "  [default: 30d, without --larger-than]",
        ),
    ] = None,
    larger_than: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --prune: the oldest, until the rest is no larger, such as 10G.",
        ),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="With --prune: leave the nodes alone.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --prune: say what would go, and how much it is.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Names only, one a line, for scripts.")
    ] = False,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="text: a table; json: a list of objects.")
    ] = "text",
) -> None:
    """List the runs of this machine, or remove old ones.

    The latest comes first. A run whose controller died shows as running (no controller): it goes on, and
    the next command that looks at it (orch logs, orch status, orch attach) starts one in the background.

    --prune never touches a run that goes on. The nodes forget a run first; while one of them cannot be
    reached, the run stays on the list. --here removes this machine's part alone. Exits with 0 when all
    that was to go is gone, else with 1.

    \b
    Examples:
      orch runs
      orch runs --prune --older-than 2w --dry-run
      orch runs --prune --larger-than 10G
      orch runs --output json | jq -r '.[] | select(.state == "running") | .run'
    """
    from orchestrator.cli import run_runs
    from orchestrator.errors import UsageError

    if quiet and (prune or output == "json"):
        raise UsageError("--quiet excludes --prune and --output json")
    if prune:
        run_runs.prune(run_runs.Arguments(older_than, larger_than, here, dry_run, output))
    elif older_than or larger_than or here or dry_run:
        raise UsageError("--older-than, --larger-than, --here and --dry-run go with --prune")
    else:
        run_runs.show("names" if quiet else output)
