"""What a launcher is to a plan: it turns one node's share of the job into processes.

Each launcher is a small file of its own: torchrun.py, fabric.py, python.py, direct.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.plan.job import Job

NAMES = ("torchrun", "fabric", "python", "direct")


@dataclass(frozen=True)
class Process:
    """One process that the supervisor starts on a node.

    `rank` is None for a launcher, which starts the ranks itself.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    rank: int | None = None
    local_rank: int | None = None


@dataclass(frozen=True)
class Share:
    """One node's share of a job."""

    run: str
    python: str
    node_rank: int
    nodes: int
    devices: int
    gpus: int
    first_rank: int
    world_size: int
    main_address: str
    main_port: int


Launcher = Callable[[Share, Job], tuple[Process, ...]]


def find(name: str) -> Launcher:
    """Return the launcher called `name`, one of NAMES."""
    from orchestrator.plan import direct, fabric, python, torchrun

    return {
        "torchrun": torchrun.processes,
        "fabric": fabric.processes,
        "python": python.processes,
        "direct": direct.processes,
    }[name]
