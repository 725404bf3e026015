"""Options and settings of a run that are not in its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.remote.base import Transport
from orchestrator.remote.transports import SavedTransport

LOG_LIMIT = 50_000_000_000
"""The default limit on the disk usage of a run's logs on the controller, in bytes."""
RESULT_LIMIT = 8_000_000_000
"""The default limit on the size of what all ranks of a run return, in bytes."""

SYNC_LIMIT = 1_000_000_000
"""The size in bytes of the largest folder that is copied to the nodes by default."""


@dataclass(frozen=True)
class RunOptions:
    """The options of a run that a launch sets; times in seconds.

    `grace` is the time between SIGTERM and SIGKILL. Processes left running after all ranks have exited
    with 0 may run for `linger`. A node that cannot be reached for `node_timeout` counts as failed
    (0: never). A node stops its ranks after `lease` without contact to a controller (None: never). The run
    is stopped after `timeout` (None: never), and when a rank fails, unless `keep_going`. A run without
    progress for `stall` is reported (None: not watched), and stopped with `stop_when_stalled`. Its logs use
    at most `log_limit` bytes of the controller's disk (None: no limit); more output stays on the nodes.
    After every attempt, the files in the main node's working folder that match `fetch` (none: no files)
    are copied to a folder with the name of the run below `fetch_to`. If the ranks call a function, at most
    `result_limit` bytes of their results are copied here (None: no limit).
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
    result_limit: int | None = RESULT_LIMIT


@dataclass(frozen=True)
class Settings(RunOptions):
    """What a controller must know about a run besides its plan.

    `script` is the command as typed, without secrets. `skews` is by how many seconds each node's clock is
    ahead. `source` is the folder of this machine that was copied to the nodes (None: none was). `function`
    is the name of the function that the ranks call (empty: they run a script).
    """

    script: tuple[str, ...] = ()
    skews: Mapping[str, float] = field(default_factory=dict)
    transport: SavedTransport = field(default_factory=SavedTransport)
    source: Path | None = None
    function: str = ""


def silence_timeout(node_timeout: float) -> float:
    """Return after how many seconds a silent connection counts as broken: half of the time in which a
    node must be reached, and at most a minute.
    """
    return min(node_timeout / 2, 60.0)


def with_silence_timeout(transport: Transport, node_timeout: float) -> Transport:
    """Return `transport` with the silence timeout for this `node_timeout` (0: unchanged)."""
    return (
        transport
        if node_timeout == 0
        else transport.with_silence_limit(silence_timeout(node_timeout))
    )
