"""`orch runs`: the runs of this machine, and removing old ones."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options


def runs(
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove runs that have ended, here and on their nodes.")
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="With --prune: those that ended before T, such as 30d or 2026-01-31.  "
            "[default: 30d, unless with --larger-than]",
        ),
    ] = None,
    larger_than: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --prune: the oldest, until the rest is at most SIZE, such as 10G.",
        ),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="With --prune: leave the nodes alone.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --prune: only show what would be removed.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Names only, one a line, for scripts.")
    ] = False,
    output: Annotated[
        options.TextOrJson, typer.Option(help="text: a table; json: a list of objects.")
    ] = "text",
) -> None:
    """List the runs of this machine, or remove old ones.

    \b
    Examples:
      orch runs
      orch runs --prune --older-than 2w --dry-run
      orch runs --prune --larger-than 10G
      orch runs --output json | jq -r '.[] | select(.state == "running") | .run'

    The latest comes first. A run that has ended is succeeded, failed, stopped (by a user or its time
    limit), or lost with one of its nodes. A run whose controller died shows as running (no controller):
    the job keeps running, and the next command that reads the run (orch logs, orch status, orch attach)
    starts a controller in the background.

    --prune never removes an active run. The nodes forget a run first; while one of them cannot be
    reached, the run stays on the list. --here removes only this machine's part.

    Exits with 0 if all was removed, else with 1.
    """
    import asyncio
    import sys

    from orchestrator.errors import UsageError
    from orchestrator.ui.event_printer import EventPrinter

    if quiet and (prune or output == "json"):
        raise UsageError("--quiet excludes --prune and --output json")
    if not prune:
        from orchestrator.api.status import list_runs
        from orchestrator.ui.runs import show_list

        if older_than or larger_than or here or dry_run:
            raise UsageError("--older-than, --larger-than, --here and --dry-run go with --prune")
        show_list(list_runs(), "names" if quiet else output)
        return

    from orchestrator.api.prune import choose, rule_of
    from orchestrator.api.prune import prune as use_case
    from orchestrator.ui.prune import show
    from orchestrator.util.process import resume_gc

    chosen = choose(rule_of(older_than, larger_than))
    resume_gc()
    pruned = asyncio.run(use_case(chosen, EventPrinter(), here=here, dry=dry_run))
    show(pruned, output, is_rehearsal=dry_run)
    if not dry_run and any(one.problems for one in pruned):
        sys.exit(1)
