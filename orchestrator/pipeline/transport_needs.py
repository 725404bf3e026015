"""The capabilities that a command needs from its transport, checked before anything is started."""

from __future__ import annotations

from orchestrator.errors import UsageError
from orchestrator.remote.base import Transport


def require_background(transport: Transport, asked: str) -> None:
    """Raise UsageError if a run ends with the controller that started it."""
    if not transport.capabilities.outlives_controller:
        raise UsageError(
            f"{asked}: with transport {transport.name} a run ends with its controller",
            remedy=f"leave out {asked}, and run this command in tmux or screen",
        )


def require_files(transport: Transport, asked: str, remedy: str) -> None:
    """Raise UsageError if no files can be copied to or from the nodes."""
    if not transport.capabilities.carries_rsync:
        why = "does not carry rsync"
    elif not transport.capabilities.many_sessions:
        why = "has one session a node, and rsync needs a second"
    else:
        return
    raise UsageError(f"{asked}: transport {transport.name} {why}", remedy=remedy)


def require_sessions(transport: Transport, asked: str, remedy: str) -> None:
    """Raise UsageError if the transport allows only one session at a time on a node."""
    if not transport.capabilities.many_sessions:
        raise UsageError(
            f"{asked}: transport {transport.name} has one session a node, and this needs two",
            remedy=remedy,
        )


def require_time_limit(transport: Transport, timeout: float | None) -> None:
    """Raise UsageError if a command without a time limit could wait forever for a lost node."""
    if timeout is None and not transport.capabilities.detects_lost_link:
        raise UsageError(
            f"transport {transport.name} does not detect lost nodes, so the command might never end",
            remedy="limit it with --timeout TIME",
        )
