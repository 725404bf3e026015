"""What whoever minds a run must know of it beside its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.runs.plain import parse, plain

if TYPE_CHECKING:
    from orchestrator.remote.ssh import ConnectOptions

NODE_TIMEOUT = 60.0
GRACE = 3.0


@dataclass(frozen=True)
class Embedded:
    """The nodes of a run that are embedded in this machine: how many, and where they work."""

    count: int
    root: Path


@dataclass(frozen=True)
class Settings:
    """How a run is minded; times in seconds.

    `script` is the command as typed. `skews` has by how much each node's clock is ahead. `grace` is how
    long ranks have between SIGTERM and SIGKILL. A node that nobody can reach for `node_timeout` counts as
    failed (0: never). A node ends its share when no controller was heard of for `lease` (None: never).
    The run is stopped `timeout` after it began (None: never), and when a rank fails, unless `keep_going`.
    When nothing of it has moved for `stall` (None: nobody looks), that is told, and with
    `stop_when_stalled` the run is stopped.
    """

    script: tuple[str, ...] = ()
    skews: Mapping[str, float] = field(default_factory=dict)
    grace: float = GRACE
    node_timeout: float = NODE_TIMEOUT
    lease: float | None = None
    timeout: float | None = None
    keep_going: bool = False
    stall: float | None = None
    stop_when_stalled: bool = False
    connect_timeout: float = 10.0
    accept_new: bool = False
    embedded: Embedded | None = None

    def describe(self) -> dict[str, Any]:
        """Return them as JSON."""
        described: dict[str, Any] = plain(self)
        return described

    @classmethod
    def parse(cls, described: Any) -> Settings:
        """Return what `describe` described. Raises ValueError when it is not that."""
        settings: Settings = parse(cls, described)
        return settings


def watchful(options: ConnectOptions, node_timeout: float) -> ConnectOptions:
    """Return `options` with probes often enough that a connection which is silently dead is noticed
    in half of `node_timeout`, seconds (0: the node is never given up). `links.py` waits for the other half.
    """
    if node_timeout == 0:
        return options
    # A connection is dead when three probes were not answered.
    return replace(options, keepalive=min(options.keepalive, max(1.0, node_timeout / 6)))
