"""What the controller of a run must know of it beside its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.remote.base import Transport
from orchestrator.remote.transports import SavedTransport

LOG_LIMIT = 50_000_000_000
"""Bytes of the controller's disk that the logs of one run may take up, unless the launch says otherwise."""


@dataclass(frozen=True)
class RunOptions:
    """On what terms a run goes on, as a launch asks for them; times in seconds.

    `grace` is how long ranks have between SIGTERM and SIGKILL. What ranks that have all exited with 0 leave
    running on a node may go on for `linger`. A node that nobody can reach for
    `node_timeout` counts as failed (0: never). A node ends its share when no controller was heard of for
    `lease` (None: never). The run is stopped `timeout` after it began (None: never), and when a rank
    fails, unless `keep_going`. When nothing of it has moved for `stall` (None: nobody looks), that is
    told, and with `stop_when_stalled` the run is stopped. Its logs take up at most `log_limit` bytes of the
    controller's disk (None: any number); what comes after that stays on the nodes. At the end of every
    attempt, the files in main's working folder that match `fetch` are brought here, into a folder called
    as the run below `fetch_to` (no pattern: none are).
    """

    grace: float = 3.0
    linger: float = 60.0
    node_timeout: float = 60.0
    lease: float | None = None
    timeout: float | None = None
    keep_going: bool = False
    stall: float | None = None
    stop_when_stalled: bool = False
    log_limit: int | None = LOG_LIMIT
    fetch: tuple[str, ...] = ()
    fetch_to: Path | None = None


@dataclass(frozen=True)
class Settings(RunOptions):
    """How a run is controlled: its options, and what else must be known of it.

    `script` is the command as typed, but for secrets. `skews` has by how much each node's clock is ahead,
    in seconds. `source` is the folder of this machine that went to the nodes (None: none did).
    """

    script: tuple[str, ...] = ()
    skews: Mapping[str, float] = field(default_factory=dict)
    transport: SavedTransport = field(default_factory=SavedTransport)
    source: Path | None = None


def silence_timeout(node_timeout: float) -> float:
    """Return the seconds after which a connection that has fallen silent counts as broken: half of the
    time in which a node must be reached, and at most a minute.
    """
    return min(node_timeout / 2, 60.0)


def with_silence_timeout(transport: Transport, node_timeout: float) -> Transport:
    """Return `transport` so that a connection breaks in `silence` seconds of silence (`node_timeout` 0: the
    node is never given up).
    """
    return (
        transport
        if node_timeout == 0
        else transport.with_silence_limit(silence_timeout(node_timeout))
    )
