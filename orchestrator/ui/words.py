"""The sentences that a launch says about itself: pure."""

from __future__ import annotations

import signal
from pathlib import Path

from orchestrator import events
from orchestrator.plan import Plan


def header(plan: Plan) -> str:
    """Return what is launched where, in lines that fit 80 columns."""
    first = plan.nodes[0]
    names = {node.interface for node in plan.nodes}
    interface = names.pop() if len(names) == 1 else None
    where = f"{plan.main_address}:{plan.main_port}" + (f" ({interface})" if interface else "")
    return (
        f"run {plan.run}: {count(len(plan.nodes), 'node')}, {count(plan.world_size, 'rank')}, "
        f"{plan.launcher}\n      main {first.name} at {where}"
    )


def rank_ended(event: events.RankEnded) -> str:
    """Return how a rank failed."""
    if event.signal is not None:
        return f"rank {event.rank} on {event.node} was killed by {_signal(event.signal)}"
    return f"rank {event.rank} on {event.node} exited with {event.code}"


def stopping(event: events.Stopping) -> str:
    """Return that the run is being stopped, and what a person can do meanwhile."""
    if event.grace == 0:
        return f"{event.reason}: killing all ranks"
    hint = "; press Ctrl-C again to kill them at once" if event.reason == "interrupted" else ""
    return f"{event.reason}: stopping all ranks, {event.grace:g} s of grace{hint}"


def node_lost(event: events.NodeLost) -> str:
    """Return that a connection broke, and that this stops nothing."""
    first_line = event.cause.splitlines()[0]
    return f"{first_line}; the run goes on there, trying to connect again"


def ended(event: events.Ended) -> str:
    """Return how it all ended and where the logs are."""
    mark = "✓" if event.exit_code == 0 else "✗"
    logs = short_path(event.folder / "logs")
    return (
        f"{mark} run {event.run}: {event.summary} after {event.seconds:.1f} s\n      logs: {logs}"
    )


def count(number: int, thing: str) -> str:
    """Return `3 nodes`, `1 node`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def short_path(path: Path) -> str:
    """Return `path` with the home as ~, where it is below that."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
