"""Show what `orch runs --prune` has removed, or would remove: text or JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.ui.stderr import Stderr
from orchestrator.ui.table import write, write_json
from orchestrator.util.durations import age
from orchestrator.util.text import counted, format_size

if TYPE_CHECKING:
    from orchestrator.api.prune import Pruned


def show(pruned: Sequence[Pruned], output: Literal["text", "json"], *, is_rehearsal: bool) -> None:
    """Write what was removed (on a rehearsal: would be) to stdout, and why runs were kept to stderr."""
    if output == "json":
        write_json([_describe(one) for one in pruned])
        return
    say = Stderr().line
    going = [one for one in pruned if one.removed or is_rehearsal]
    now = time.time()
    names = [one.kept.folder.name for one in going]
    ages = [f"{age(now - one.kept.since)} ago" for one in going]
    name_width, age_width = (max(map(len, column), default=0) for column in (names, ages))
    write(
        [
            f"{name:<{name_width}}  {ago:>{age_width}}  {_sizes([one])}"
            for name, ago, one in zip(names, ages, going, strict=True)
        ]
    )
    for one in pruned:
        kept = "" if is_rehearsal else " kept"
        for problem in one.problems:
            say(f"{one.kept.folder.name}{kept}: {problem}", "yellow")
    if not pruned:
        say("nothing to prune")
        return
    verb = "would be removed" if is_rehearsal else "removed"
    say(f"{counted(len(going), 'run')} {verb}: {_sizes(going)}")
    if len(going) < len(pruned):
        say("--here removes only the copies on this machine")


def _describe(one: Pruned) -> dict[str, Any]:
    return {
        "run": one.kept.folder.name,
        "since": one.kept.since,
        "bytes": one.kept.bytes,
        "node_bytes": one.nodes,
        "removed": one.removed,
        "problems": one.problems,
    }


def _sizes(some: Sequence[Pruned]) -> str:
    here, nodes = sum(one.kept.bytes for one in some), sum(one.nodes for one in some)
    return f"{format_size(here)} here, {format_size(nodes)} on nodes"
