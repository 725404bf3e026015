"""The sentences that a launch says about itself: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator import events
from orchestrator.plan import Plan
from orchestrator.signal_names import signal_name

INDENT = "      "
"""What stands before each line but the first of a message: as wide as `orch: `."""

KEYS = ("Ctrl-C stops", "Ctrl-\\ leaves it running")
"""What a person can do about a run in the foreground."""

_LINE = 100  # characters of one line of a few


def header(plan: Plan) -> str:
    """Return what is launched where, in lines that fit 80 columns."""
    first = plan.nodes[0]
    names = {node.interface for node in plan.nodes}
    interface = names.pop() if len(names) == 1 else None
    where = f"{plan.main_address}:{plan.main_port}" + (f" ({interface})" if interface else "")
    return (
        f"run {plan.run}: {count(len(plan.nodes), 'node')}, {count(plan.world_size, 'rank')}, "
        f"{plan.launcher}\n{INDENT}main {first.name} at {where}"
    )


def rank_ended(event: events.RankEnded) -> str:
    """Return how a rank failed."""
    if event.signal is not None:
        return f"rank {event.rank} on {event.node} was killed by {signal_name(event.signal)}"
    return f"rank {event.rank} on {event.node} exited with {event.code}"


def rank_end(event: events.RankEnded) -> str:
    """Return the same in two words: `r3 exit 1`, `r3 SIGKILL`."""
    how = f"exit {event.code}" if event.signal is None else signal_name(event.signal)
    return f"r{event.rank} {how}"


def stopping(event: events.Stopping) -> str:
    """Return that the run is being stopped, and what a person can do meanwhile."""
    reason = stop_reason(event)
    if event.grace == 0:
        return f"{reason}: killing all ranks"
    hint = "; Ctrl-C again kills them" if reason == "interrupted" else ""
    return f"{reason}: stopping all ranks, {event.grace:g} s of grace{hint}"


def stop_reason(event: events.Stopping) -> str:
    """Return why a run is being stopped; what it stalled at has been told just before."""
    return "stalled" if event.reason.startswith("stalled: ") else event.reason


def restarting(event: events.Restarting) -> str:
    """Return that all of it is started again, and why."""
    return f"{event.because}: starting all of it again, attempt {event.attempt} of {event.of}"


def stalled(event: events.Stalled) -> str:
    """Return what the ranks wait for."""
    where = places(event.stacks, event.stuck, event.suspect, _LINE)
    return f"\n{INDENT}".join([f"nothing has moved for {duration(event.seconds)}:", *where])


def places(stacks: Sequence[str], stuck: Sequence[str], suspect: str, width: int) -> list[str]:
    """Return where ranks are, on one line if it fits in `width`, and what keeps them, if that shows."""
    line = " · ".join(stacks)
    return [
        *([line] if len(line) <= width else stacks),
        *(f"stuck: {each}" for each in stuck),
        *([f"suspect: {suspect}"] if suspect else []),
    ]


def condition(
    state: str, summary: str, stopping: str | None, stalled: events.Stalled | None
) -> tuple[str, str]:
    """Return the state of a run that goes on, or that it is stopping, or has stalled, and why."""
    if stopping is not None:
        return "stopping", stopping
    if stalled is not None:
        return "stalled", stalled.suspect or " · ".join(stalled.stacks)
    return state, summary


def resumed(event: events.Resumed) -> str:
    """Return that the run gets on."""
    return f"the run gets on again, after {duration(event.seconds)}"


def node_lost(event: events.NodeLost) -> str:
    """Return that a connection broke, and that this stops nothing."""
    first_line = (event.cause.splitlines() or [f"{event.node}: the connection broke"])[0]
    return f"{first_line}; the run goes on there, trying to connect again"


def node_back(event: events.NodeBack) -> str:
    """Return that a node is connected again, and what that cost."""
    return f"{event.node}: connected again after {duration(event.seconds)}; nothing was lost"


def node_left(event: events.NodeLeft) -> str:
    """Return that an elastic run goes on without a node, and what that means."""
    others = f"{event.staying} of {event.of} nodes"
    return f"{event.node} {event.why}; the run goes on with {others}, whose ranks begin anew"


def detached(event: events.Detached) -> str:
    """Return that the run goes on, and how to come back to it."""
    commands = {
        f"orch attach {event.run}": "to come back",
        f"orch logs -f {event.run}": "to read on",
        f"orch stop {event.run}": "to end it",
    }
    width = max(map(len, commands))
    lines = [f"{INDENT}{command:<{width}}  {what}" for command, what in commands.items()]
    return "\n".join([f"run {event.run} goes on without this terminal", *lines])


def ended(event: events.Ended) -> str:
    """Return how it all ended."""
    mark = "✓" if event.exit_code == 0 else "✗"
    return f"{mark} run {event.run}: {lasted(event.summary, event.seconds)}"


def lasted(summary: str, seconds: float) -> str:
    """Return how a run ended and after how long: `stalled after 9.3 s: r1 …`, `… after 14.2 s`."""
    if summary.startswith("timed out"):  # it says so itself
        return summary
    how = re.split("[:;] ", summary, maxsplit=1)[0]
    comma = "," if ", " in how else ""
    return f"{how}{comma} after {lifetime(seconds)}{summary[len(how) :]}"


def count(number: int, thing: str) -> str:
    """Return `3 nodes`, `1 node`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def size(number: float) -> str:
    """Return `12.3 MB` for so many bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Return `32 s`, `5 min 20 s`, `3 h 4 min`, `2 d 3 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def lifetime(seconds: float) -> str:
    """Return `0.42 s`, `5.3 s`, `5 min 20 s`."""
    if seconds < 60:
        return f"{max(0.0, seconds):.{2 if seconds < 1 else 1}f} s"
    return duration(seconds)


def age(seconds: float) -> str:
    """Return `32 s`, `5 min`, `3 h`, `2 d`."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def short_path(path: Path) -> str:
    """Return `path` with the home as ~, where it is below that."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
