"""`orch runs`: the runs that this machine knows of, and forgetting old ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    pass

_MONTH = "30d"


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

    The latest comes first. One that has ended succeeded, failed, was stopped (by a person or its time
    limit), or was lost with one of its nodes. A run whose controller died shows as running (no
    controller): the job keeps running, and the next command that looks at it (orch logs, orch status,
    orch attach) starts a controller in the background.

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
    from orchestrator.errors import UsageError

    if quiet and (prune or output == "json"):
        raise UsageError("--quiet excludes --prune and --output json")
    if prune:
        _prune(older_than, larger_than, output, here=here, dry_run=dry_run)
    elif older_than or larger_than or here or dry_run:
        raise UsageError("--older-than, --larger-than, --here and --dry-run go with --prune")
    else:
        _list("names" if quiet else output)


def _list(output: Literal["text", "json", "names"]) -> None:
    """Show the runs; nobody is asked, and nothing is started."""
    from orchestrator.api.status import summary_of
    from orchestrator.runs.registry import all_runs, unreadable_runs, untrusted_runs
    from orchestrator.ui import runs as table
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.util.text import counted

    now = time.time()
    rows = [summary_of(saved, now) for saved in all_runs()]
    tell = EventPrinter()
    if not rows and output != "json":
        tell.say("there is no run yet: orch launch SCRIPT starts one")
    else:
        table.show(rows, output)
    others = untrusted_runs()
    if others:
        tell.say(
            f"{counted(len(others), 'run')} left out: {others[0].path} {others[0].why}"
            + (f", and {len(others) - 1} more" if others[1:] else ""),
            "yellow",
        )
    unread = unreadable_runs()
    if unread:
        tell.say(
            f"{counted(len(unread), 'folder')} without a record that can be read; "
            "orch runs --prune removes those older than a day",
            "yellow",
        )


def _prune(
    older_than: str | None,
    larger_than: str | None,
    output: Literal["text", "json"],
    *,
    here: bool,
    dry_run: bool,
) -> None:
    """Remove what the options mean, and say what became of it; exits with 1 when something stays."""
    import asyncio
    import sys

    from orchestrator.api.prune import Rule, choose, prune
    from orchestrator.api.values import parse_size, value_of
    from orchestrator.logs.timespec import parse_time
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.ui.prune import show
    from orchestrator.util.process import resume_gc

    if older_than is None and larger_than is None:
        older_than = _MONTH
    rule = Rule(
        before=value_of("--older-than", older_than, lambda text: parse_time(text, time.time())),
        most=value_of("--larger-than", larger_than, parse_size),
    )
    going = choose(rule)
    resume_gc()
    pruned = asyncio.run(prune(going, EventPrinter(), here=here, dry=dry_run))
    show(pruned, output, is_rehearsal=dry_run)
    if not dry_run and any(one.problems for one in pruned):
        sys.exit(1)
