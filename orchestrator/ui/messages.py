"""The sentences that a launch says about itself: pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator import events
from orchestrator.inventory.ranges import fold
from orchestrator.logs.stream import Stream
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Plan
from orchestrator.ui.terminal import printable
from orchestrator.util.durations import age, duration, lifetime
from orchestrator.util.signals import signal_name
from orchestrator.util.text import counted, format_size

INDENT = "      "
"""What stands before each line but the first of a message: as wide as `orch: `."""

KEYS = ("Ctrl-C stops", "Ctrl-\\ leaves it running")
"""What a person can do about a run in the foreground."""

_LINE = 100  # characters of one line of a few
_USERS = 3  # runs that are named
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}


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
    """Return which folder goes, and how much that is: `files ~/exp: 12 files, 3.4 MB, to ~/orch/exp`."""
    places = {node.workdir for node in plan.nodes} if plan is not None else set()
    to = f", to {places.pop()}" if len(places) == 1 else ""
    what = f"{counted(event.files, 'file')}, {format_size(event.size)}"
    return f"files {printable(short_path(event.source))}: {what}{to}"


def uneven(event: events.Uneven) -> str:
    """Return which nodes have a file of an earlier run, what follows from that, and what to do."""
    return (
        f"{printable(event.path)}, which the script opens, was left on {fold(event.there)} by an earlier "
        f"run, and is not on {fold(event.absent)}: ranks that resume from it would be at another epoch "
        "than the others; copy it to all of them, or remove it"
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
    is_first = event.stop.reason is StopReason.INTERRUPT
    hint = "; Ctrl-C again kills them" if is_first else ""
    return f"{reason}: stopping all ranks, {event.grace:g} s of grace{hint}"


def stop_reason(event: events.Stopping) -> str:
    """Return why a run is being stopped; what it stalled at has been told just before."""
    return "stalled" if event.stop.reason is StopReason.STALL else str(event.stop)


def nodes_in_use(event: events.NodesInUse) -> str:
    """Return which other runs use the nodes, and what becomes of the launch, or what can be done."""
    users = [
        f"{fold(user.nodes)} {'is' if len(user.nodes) == 1 else 'are'} in use by "
        f"{printable(user.run)}, {age(user.seconds)}"
        for user in event.users[:_USERS]
    ]
    if len(event.users) > _USERS:
        users.append(f"and {counted(len(event.users) - _USERS, 'more run')}")
    if event.place is not None:
        place = "next in line" if event.place == 1 else f"{_ordinal(event.place)} in line"
        return "; ".join([*users, f"waiting, {place}"])
    known = next((user.run for user in event.users if user.is_known), None)
    them = "it" if len(event.users) == 1 else "them"
    stop = f"orch stop {known} ends it, " if known is not None else ""
    return (
        "; ".join([*users, f"starting beside {them}"]) + f"\n  → {stop}--wait queues behind {them}"
    )


def _ordinal(number: int) -> str:
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{_ENDINGS.get(last, 'th')}"


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


def resumed(event: events.Resumed) -> str:
    """Return that the run gets on."""
    return f"the run gets on again, after {duration(event.seconds)}"


def node_lost(event: events.NodeLost) -> str:
    """Return that a connection broke, and that this stops nothing."""
    first_line = (event.cause.splitlines() or ["the connection broke"])[0]
    return f"{event.node}: {first_line}; the run goes on there, trying to connect again"


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
    return f"{mark} run {event.run}: {lasted(event)}"


def files(event: events.FilesWritten) -> tuple[str, str, str]:
    """Return where the run's files are, how many, and how to have them."""
    many = f"({event.files} new, {format_size(event.size)})"
    return f"{event.node}:{event.folder}", many, f"orch fetch {event.run}"


def lasted(event: events.Ended) -> str:
    """Return how a run ended and after how long: `stalled after 9.3 s: r1 …`, `… after 14.2 s`."""
    if event.stop is not None and event.stop.reason is StopReason.TIME_LIMIT:
        return event.summary  # which has the time
    how = event.summary.removesuffix(event.detail)
    return f"{how} after {lifetime(event.seconds)}{event.detail}"


def hole(stream: Stream, length: int) -> str:
    """Return what is said of a hole of a log where only its bytes are shown."""
    return (
        f"{stream.node}: {stream.path}: {format_size(length)} of zeros left out, a hole in the file"
    )


def short_path(path: Path) -> str:
    """Return `path` with the home as ~, where it is below that."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
