"""Carry out `orch runs`: the table, and the pruning."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.cli.tell import Teller
from orchestrator.cli.values import parse_size, value_of
from orchestrator.logs.moment import parse_moment
from orchestrator.process import end_imports
from orchestrator.runs.folder import size_of
from orchestrator.runs.registry import all_runs, broken
from orchestrator.runs.saved import Saved
from orchestrator.runs.state import state_of
from orchestrator.ui import runs as table
from orchestrator.ui.status import ControllerRow
from orchestrator.ui.table import write
from orchestrator.ui.words import age, condition, count, size

if TYPE_CHECKING:
    from orchestrator.prune import Pruned

_MONTH = "30d"


@dataclass(frozen=True)
class Arguments:
    """The words of `orch runs --prune`, as typed."""

    older_than: str | None
    larger_than: str | None
    here: bool
    dry_run: bool
    output: Literal["text", "json"]


def show(output: Literal["text", "json", "names"]) -> None:
    """Show the runs; nobody is asked, and nothing is started."""
    now = time.time()
    rows = [_row(saved, now) for saved in all_runs()]
    tell = Teller()
    if not rows and output != "json":
        tell.say("there is no run yet: orch launch SCRIPT starts one")
    else:
        table.show(rows, output)
    unread = broken()
    if unread:
        tell.say(
            f"{count(len(unread), 'folder')} without a record that can be read; "
            "orch runs --prune removes those older than a day",
            "yellow",
        )


def _row(saved: Saved, now: float) -> table.RunRow:
    controller = saved.controller
    state, summary = saved.state, saved.summary
    if not saved.has_ended:
        known = state_of(saved.folder)
        state, summary = condition(state, summary, known.stopping, known.stalled)
    return table.RunRow(
        run=saved.run,
        state=state,
        nodes=len(saved.plan.nodes),
        ranks=saved.plan.world_size,
        launcher=saved.plan.launcher,
        began=saved.began,
        age_seconds=now - saved.began,
        script=" ".join(saved.settings.script),
        exit_code=saved.exit_code,
        bytes=size_of(saved.logs),
        summary=summary,
        controller=ControllerRow(controller.pid, controller.background) if controller else None,
    )


def prune(arguments: Arguments) -> None:
    """Remove what the options mean, and say what became of it; exits with 1 when something stays."""
    from orchestrator.prune import Rule, choose, prune

    before, most = arguments.older_than, arguments.larger_than
    if before is None and most is None:
        before = _MONTH
    rule = Rule(
        before=value_of("--older-than", before, lambda text: parse_moment(text, time.time())),
        most=value_of("--larger-than", most, parse_size),
    )
    going = choose(rule)
    end_imports()
    pruned = asyncio.run(prune(going, Teller(), here=arguments.here, dry=arguments.dry_run))
    if arguments.output == "json":
        write([json.dumps([_describe(one) for one in pruned], indent=2)])
    else:
        _tell(pruned, dry=arguments.dry_run)
    if not arguments.dry_run and any(one.problems for one in pruned):
        sys.exit(1)


def _describe(one: Pruned) -> dict[str, Any]:
    return {
        "run": one.kept.folder.name,
        "since": one.kept.since,
        "bytes": one.kept.bytes,
        "node_bytes": one.nodes,
        "removed": one.removed,
        "problems": one.problems,
    }


def _tell(pruned: Sequence[Pruned], *, dry: bool) -> None:
    """Say what went, or would go, and why something stays."""
    tell = Teller()
    going = [one for one in pruned if one.removed or dry]
    now = time.time()
    names = [one.kept.folder.name for one in going]
    ages = [f"{age(now - one.kept.since)} ago" for one in going]
    wide, old = (max(map(len, column), default=0) for column in (names, ages))
    write(
        [
            f"{name:<{wide}}  {ago:>{old}}  {_sizes([one])}"
            for name, ago, one in zip(names, ages, going, strict=True)
        ]
    )
    for one in pruned:
        name = one.kept.folder.name
        for problem in one.problems:
            tell.say(f"{name}: {problem}" if dry else f"{name} stays: {problem}", "yellow")
    if not pruned:
        tell.say("no run is to go")
        return
    verb = "would go" if dry else "removed"
    tell.say(f"{count(len(going), 'run')} {verb}: {_sizes(going)}")
    if len(going) < len(pruned):
        tell.say("--here removes this machine's part alone")


def _sizes(some: Sequence[Pruned]) -> str:
    here, nodes = sum(one.kept.bytes for one in some), sum(one.nodes for one in some)
    return f"{size(here)} here, {size(nodes)} on nodes"
