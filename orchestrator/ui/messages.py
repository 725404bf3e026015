"""Messages about a run: pure functions of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.hangs.locations import rank_label
from orchestrator.inventory.ranges import fold
from orchestrator.logs.stream import Stream
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Plan
from orchestrator.ui.terminal import printable
from orchestrator.util.durations import age, duration, lifetime
from orchestrator.util.signals import signal_name
from orchestrator.util.text import counted, first_line, format_size

INDENT = "      "
"""Precedes each line of a message except the first; as wide as `orch: `."""

KEYS = ("Ctrl-C stops", "Ctrl-\\ leaves it running")
"""The keys for a run in the foreground."""

_MAX_LINE = 100  # characters of stacks that are joined on one line
_MAX_RUNS = 3  # runs that are named
_ORDINALS = {1: "st", 2: "nd", 3: "rd"}


def header(plan: Plan) -> str:
    """Return what is launched where, in lines that fit 80 columns."""
    first = plan.nodes[0]
    names = {node.interface for node in plan.nodes}
    interface = names.pop() if len(names) == 1 else None
    where = f"{plan.main_address}:{plan.main_port}" + (f" ({interface})" if interface else "")
    return (
        f"run {plan.run}: {counted(len(plan.nodes), 'node')}, {counted(plan.world_size, 'rank')}, "
        f"{plan.launcher}\n{INDENT}main {first.name} at {where}"
    )


def sending(event: events.Sending, plan: Plan | None) -> str:
    """Return which folder is sent, and its size: `files ~/exp: 12 files, 3.4 MB, to ~/orch/exp`."""
    folders = {node.workdir for node in plan.nodes} if plan is not None else set()
    to = f", to {folders.pop()}" if len(folders) == 1 else ""
    what = f"{counted(event.files, 'file')}, {format_size(event.size)}"
    return f"files {printable(short_path(event.source))}: {what}{to}"


def notice(event: events.Event) -> tuple[str, str] | None:
    """Return the message for an event that is reported the same way everywhere, and its colour."""
    message, colour = _NOTICES.get(type(event), (None, ""))
    return None if message is None else (message(event), colour)


def uneven(event: events.Uneven) -> str:
    """Return which nodes have a file of an earlier run that the others lack, and what to do."""
    return (
        f"warning: {printable(event.path)}, which the script opens, was left on {fold(event.there)} by an "
        f"earlier run and is missing on {fold(event.absent)}: ranks that resume from it would be at "
        "another epoch than the others; copy it to all nodes or remove it"
    )


def rank_ended(event: events.RankEnded) -> str:
    """Return how a rank failed."""
    if event.signal is not None:
        return f"rank {event.rank} on {event.node} was killed by {signal_name(event.signal)}"
    return f"rank {event.rank} on {event.node} exited with {event.code}"


def rank_ended_briefly(event: events.RankEnded) -> str:
    """Return how a rank failed, in two words: `r3 exit 1`, `r3 SIGKILL`."""
    how = f"exit {event.code}" if event.signal is None else signal_name(event.signal)
    return f"r{event.rank} {how}"


def stopping(event: events.Stopping) -> str:
    """Return why and how the run is being stopped."""
    reason = stop_reason(event)
    if event.stop.reason is StopReason.RUN_ENDED:
        return "all ranks have ended: stopping what served them"
    if event.grace == 0:
        return f"{reason}: killing all ranks"
    hint = "; Ctrl-C again kills them" if event.stop.reason is StopReason.INTERRUPT else ""
    return f"{reason}: stopping all ranks, {event.grace:g} s of grace{hint}"


def stop_reason(event: events.Stopping) -> str:
    """Return why a run is being stopped; where it stalled was reported just before."""
    return "stalled" if event.stop.reason is StopReason.STALL else str(event.stop)


def nodes_in_use(event: events.NodesInUse) -> str:
    """Return which other runs use the nodes, and that the launch waits, or how to stop or wait for them."""
    users = [
        f"{fold(user.nodes)} {'is' if len(user.nodes) == 1 else 'are'} in use by "
        f"{printable(user.run)}, {age(user.seconds)}"
        for user in event.users[:_MAX_RUNS]
    ]
    if len(event.users) > _MAX_RUNS:
        users.append(f"and {counted(len(event.users) - _MAX_RUNS, 'more run')}")
    if event.place is not None:
        place = "next in line" if event.place == 1 else f"{_ordinal(event.place)} in line"
        return "; ".join([*users, f"waiting, {place}"])
    known = next((user.run for user in event.users if user.is_known), None)
    them = "it" if len(event.users) == 1 else "them"
    stop = f"orch stop {known} stops it, " if known is not None else ""
    return (
        "; ".join([*users, f"starting alongside {them}"])
        + f"\n  → {stop}--wait queues behind {them}"
    )


def _ordinal(number: int) -> str:
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{_ORDINALS.get(last, 'th')}"


def restarting(event: events.Restarting) -> str:
    """Return that all ranks are started again, and why."""
    return f"{event.because}: restarting all ranks, attempt {event.attempt} of {event.of}"


def stalled(event: events.Stalled) -> str:
    """Return how long a run has made no progress, and where its ranks are."""
    where = locations(event.stacks, event.stuck, event.suspect, _MAX_LINE)
    return f"\n{INDENT}".join([f"no progress for {duration(event.seconds)}:", *where])


def locations(stacks: Sequence[str], stuck: Sequence[str], suspect: str, width: int) -> list[str]:
    """Return where ranks are, on one line if it fits in `width`, and what blocks them, if known."""
    line = " · ".join(stacks)
    return [
        *([line] if len(line) <= width else stacks),
        *(f"stuck: {each}" for each in stuck),
        *([f"suspect: {suspect}"] if suspect else []),
    ]


def resumed(event: events.Resumed) -> str:
    """Return that a stalled run makes progress again."""
    return f"progress resumed after {duration(event.seconds)}"


def straggling(event: events.Straggling) -> str:
    """Return which ranks hold up the others, how, and where they are in their code."""
    one = len(event.ranks) == 1
    who = f"{rank_label(event.ranks)} on {fold(event.nodes)}"
    if event.kind == "network":
        return f"{fold(event.nodes)}: {event.does}"
    if event.kind == "steps":
        return f"{who} {'is' if one else 'are'} slower than the others: {event.does}"
    share = f"{event.share:.0%} of the time"
    lost = share if event.seconds is None else f"{event.seconds:.2f} s a step ({share})"
    place = f": {event.place}" if event.place else ""
    return f"{who} hold{'s' if one else ''} up the others: {event.does} {lost} longer{place}"


def caught_up(event: events.CaughtUp) -> str:
    """Return that ranks no longer hold up the others."""
    verb = "holds" if len(event.ranks) == 1 else "hold"
    return f"{rank_label(event.ranks)} on {fold(event.nodes)} no longer {verb} up the others"


def node_lost(event: events.NodeLost) -> str:
    """Return that a connection broke, and that the ranks there keep running."""
    cause = first_line(event.cause) or "the connection broke"
    return f"{event.node}: {cause}; the run continues there, reconnecting"


def node_back(event: events.NodeBack) -> str:
    """Return that a node is connected again."""
    return f"{event.node}: reconnected after {duration(event.seconds)}; nothing was lost"


def node_left(event: events.NodeLeft) -> str:
    """Return that an elastic run continues without a node."""
    others = f"{event.staying} of {event.of} nodes"
    return f"{event.node} {event.why}; the run continues with {others}, all ranks restart"


def detached(event: events.Detached) -> str:
    """Return that the run continues in the background, and the commands for it."""
    commands = {
        f"orch attach {event.run}": "to return to it",
        f"orch logs -f {event.run}": "to follow its output",
        f"orch stop {event.run}": "to stop it",
    }
    width = max(map(len, commands))
    lines = [f"{INDENT}{command:<{width}}  {what}" for command, what in commands.items()]
    return "\n".join([f"run {event.run} continues in the background", *lines])


def ended(event: events.Ended) -> str:
    """Return how a run ended."""
    mark = "✓" if event.exit_code == 0 else "✗"
    return f"{mark} run {event.run}: {ended_after(event)}"


def ended_after(event: events.Ended) -> str:
    """Return how a run ended and after how long: `stalled after 9.3 s: r1 …`, `… after 14.2 s`."""
    if event.stop is not None and event.stop.reason is StopReason.TIME_LIMIT:
        return event.summary  # which has the time
    how = event.summary.removesuffix(event.detail)
    return f"{how} after {lifetime(event.seconds)}{event.detail}"


def files(event: events.FilesWritten) -> tuple[str, str, str]:
    """Return where the run's files are, how many, and the command that fetches them."""
    many = f"({event.files} new, {format_size(event.size)})"
    return f"{event.node}:{event.folder}", many, f"orch fetch {event.run}"


def hole(stream: Stream, length: int) -> str:
    """Return the warning about a hole in a log that is shown as raw bytes."""
    size = format_size(length)
    return f"warning: {stream.node}: {stream.path}: {size} of zeros left out, a hole in the file"


def short_path(path: Path) -> str:
    """Return `path` with ~ for the home folder, if it is below that."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


_NOTICES: dict[type, tuple[Callable[[Any], str], str]] = {
    events.Warned: (lambda event: f"warning: {event.message}", "yellow"),
    events.Uneven: (uneven, "yellow"),
    events.NodesInUse: (nodes_in_use, "yellow"),
    events.Stopping: (stopping, "yellow"),
    events.Restarting: (restarting, "yellow"),
    events.Stalled: (stalled, "yellow"),
    events.Resumed: (resumed, "green"),
    events.Straggling: (straggling, "yellow"),
    events.CaughtUp: (caught_up, "green"),
    events.NodeLost: (node_lost, "yellow"),
    events.NodeLeft: (node_left, "yellow"),
    events.NodeBack: (node_back, "green"),
}
