"""Show what `orch runs --prune` has removed, or would: lines for people, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.ui.stderr import Stderr
from orchestrator.ui.table import write
from orchestrator.util.durations import age
from orchestrator.util.text import counted, format_size

if TYPE_CHECKING:
    from orchestrator.api.prune import Pruned


def show(pruned: Sequence[Pruned], output: Literal["text", "json"], *, is_rehearsal: bool) -> None:
    """Write what went (on a rehearsal: would go) to stdout, and why something stays to stderr."""
    if output == "json":
        write([json.dumps([_describe(one) for one in pruned], indent=2)])
    else:
        _show_lines(pruned, is_rehearsal=is_rehearsal)


def _describe(one: Pruned) -> dict[str, Any]:
    return {
        "run": one.kept.folder.name,
        "since": one.kept.since,
        "bytes": one.kept.bytes,
        "node_bytes": one.nodes,
        "removed": one.removed,
        "problems": one.problems,
    }


def _show_lines(pruned: Sequence[Pruned], *, is_rehearsal: bool) -> None:
    say = Stderr().line
    going = [one for one in pruned if one.removed or is_rehearsal]
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
            say(f"{name}: {problem}" if is_rehearsal else f"{name} stays: {problem}", "yellow")
    if not pruned:
        say("nothing to prune")
        return
    verb = "would go" if is_rehearsal else "removed"
    say(f"{counted(len(going), 'run')} {verb}: {_sizes(going)}")
    if len(going) < len(pruned):
        say("--here removes this machine's part alone")


def _sizes(some: Sequence[Pruned]) -> str:
    here, nodes = sum(one.kept.bytes for one in some), sum(one.nodes for one in some)
    return f"{format_size(here)} here, {format_size(nodes)} on nodes"
