"""Show where the ranks of a run are: one entry per location, all stacks, or JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from orchestrator.api.stacks import Stacks
from orchestrator.hangs.locations import rank_label
from orchestrator.hangs.snapshot import Process, Snapshot, Thread
from orchestrator.hangs.suspects import connection_lines, find_suspect, location_text, stack_lines
from orchestrator.ui import messages
from orchestrator.ui.table import stdout_size, write, write_json

_PIPE_WIDTH = 108  # columns


def show(view: Stacks, output: Literal["text", "json"], *, full: bool) -> None:
    """Write it to stdout."""
    if output == "json":
        write_json(describe(view))
        return
    width = stdout_size()[0] or _PIPE_WIDTH
    write(full_lines(view) if full else lines(view, width))


def describe(view: Stacks) -> dict[str, Any]:
    """Return everything as one JSON object; it always has the same keys."""
    return {
        "run": view.run,
        "stacks": list(stack_lines(view.snapshots)),
        "stuck": list(connection_lines(view.snapshots, view.names)),
        "suspect": find_suspect(view.snapshots, view.names, view.ended),
        "nodes": [asdict(look) for look in view.snapshots],
        "problems": dict(view.problems),
    }


def lines(view: Stacks, width: int) -> list[str]:
    """Return where the ranks are, on one line if that fits, and what blocks them, if known."""
    return messages.locations(
        stack_lines(view.snapshots) or ("no rank is running",),
        connection_lines(view.snapshots, view.names),
        find_suspect(view.snapshots, view.names, view.ended),
        width,
    )


def full_lines(view: Stacks) -> list[str]:
    """Return every thread of every process; ranks with identical stacks share an entry."""
    groups: dict[tuple[object, ...], list[tuple[Snapshot, int | None]]] = {}
    for look in view.snapshots:
        for own in look.own:
            key = tuple(_key(process) for process in look.of_rank(own.rank))
            groups.setdefault(key, []).append((look, own.rank))
    shown: list[str] = []
    for group in groups.values():
        look, rank = group[0]
        numbers = [number for _, number in group if number is not None]
        nodes = list(dict.fromkeys(look.node for look, _ in group))
        who = rank_label(numbers) if numbers else "launcher"
        shown += [*([""] if shown else []), f"{who} on {', '.join(nodes)}"]
        for process in look.of_rank(rank):
            shown += _process_lines(process, is_alone=len(group) == 1)
    shown += [f"stuck: {each}" for each in connection_lines(view.snapshots, view.names)]
    return shown


def _key(process: Process) -> tuple[object, ...]:
    return (process.is_own, process.why, process.name, process.threads)


def _process_lines(process: Process, *, is_alone: bool) -> list[str]:
    which = f"pid {process.pid} {process.name}" if is_alone else process.name
    if not process.threads:
        return [f"  {which}: {location_text(process)}"]
    return [f"  {which}", *(line for thread in process.threads for line in _thread_lines(thread))]


def _thread_lines(thread: Thread) -> list[str]:
    frames = [f"      {f.function}  {f.file}:{f.line}" for f in thread.frames]
    return [f"    {thread.name or 'thread'}", *(frames or ["      (no Python frame)"])]
