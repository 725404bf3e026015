"""What whoever minds a run must know of it beside its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.runs.plain import parse, plain

if TYPE_CHECKING:
    from orchestrator.remote.ssh import ConnectOptions


@dataclass(frozen=True)
class Embedded:
    """The nodes of a run that are embedded in this machine: how many, and where they work."""

    count: int
    root: Path


@dataclass(frozen=True)
class Terms:
    """On what terms a run goes on, as a launch asks for them; times in seconds.

    `grace` is how long ranks have between SIGTERM and SIGKILL. A node that nobody can reach for
    `node_timeout` counts as failed (0: never). A node ends its share when no controller was heard of for
    `lease` (None: never). The run is stopped `timeout` after it began (None: never), and when a rank
    fails, unless `keep_going`. When nothing of it has moved for `stall` (None: nobody looks), that is
    told, and with `stop_when_stalled` the run is stopped.
    """

    grace: float = 3.0
    node_timeout: float = 60.0
    lease: float | None = None
    timeout: float | None = None
    keep_going: bool = False
    stall: float | None = None
    stop_when_stalled: bool = False


@dataclass(frozen=True)
class Settings(Terms):
    """How a run is minded: on its terms, and with what else must be known of it.

    `script` is the command as typed. `skews` has by how much each node's clock is ahead, in seconds.
    """

    script: tuple[str, ...] = ()
    skews: Mapping[str, float] = field(default_factory=dict)
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


def silence(node_timeout: float) -> float:
    """Return the seconds after which a connection that has fallen silent counts as broken: half of the
    time in which a node must be reached, and at most a minute.
    """
    return min(node_timeout / 2, 60.0)


def watchful(options: ConnectOptions, node_timeout: float) -> ConnectOptions:
    """Return `options` with probes often enough that a connection breaks in `silence` seconds of silence
    (`node_timeout` 0: the node is never given up).
    """
    if node_timeout == 0:
        return options
    # asyncssh sends three probes that are not answered, and gives up when the fourth were due.
    return replace(options, keepalive=min(options.keepalive, max(0.5, silence(node_timeout) / 4)))
