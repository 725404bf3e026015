"""Show where the ranks of a run are: one entry per location, all stacks, or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.hangs.locations import rank_label
from orchestrator.hangs.snapshot import Process, Snapshot, Thread
from orchestrator.hangs.suspects import connection_lines, find_suspect, location_text, stack_lines
from orchestrator.ui import messages
from orchestrator.ui.table import stdout_size, write, write_json

_PIPE_WIDTH = 108  # columns


@dataclass(frozen=True)
class StacksView:
    """The stacks of one run; see `orchestrator.api.stacks`."""

    run: str
    looks: tuple[Snapshot, ...]
    problems: Mapping[str, str]
    names: Mapping[str, str]
    ended: Mapping[int, str]


def show(view: StacksView, output: Literal["text", "json"], *, full: bool) -> None:
    """Write it to stdout."""
    if output == "json":
        write_json(describe(view))
        return
    width = stdout_size()[0] or _PIPE_WIDTH
    write(full_lines(view) if full else lines(view, width))


def describe(view: StacksView) -> dict[str, Any]:
    """Return everything as one JSON object; it always has the same keys."""
    return {
        "run": view.run,
        "stacks": list(stack_lines(view.looks)),
        "stuck": list(connection_lines(view.looks, view.names)),
        "suspect": find_suspect(view.looks, view.names, view.ended),
        "nodes": [asdict(look) for look in view.looks],
        "problems": dict(view.problems),
    }


def lines(view: StacksView, width: int) -> list[str]:
    """Return where the ranks are, on one line if that fits, and what blocks them, if known."""
    return messages.locations(
        stack_lines(view.looks) or ("no rank is running",),
        connection_lines(view.looks, view.names),
        find_suspect(view.looks, view.names, view.ended),
        width,
    )


def full_lines(view: StacksView) -> list[str]:
    """Return every thread of every process; ranks with identical stacks share an entry."""
    groups: dict[tuple[object, ...], list[tuple[Snapshot, int | None]]] = {}
    for look in view.looks:
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
    shown += [f"stuck: {each}" for each in connection_lines(view.looks, view.names)]
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
