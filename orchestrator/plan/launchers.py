"""What a launcher is to a plan: it turns one node's share of the job into processes.

Each launcher is a small file of its own: torchrun.py, fabric.py, python.py, direct.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import UsageError
from orchestrator.plan.job import Elastic, Job

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
    address: str | None = None
    """The node's own on the network where the ranks meet."""
    is_like_all: bool = False
    """Whether every node of the job has as many ranks as this one."""


Launcher = Callable[[Share, Job], tuple[Process, ...]]


_OWNED = {
    "--nnodes": "--nodes and --exclude",
    "--num-nodes": "--nodes and --exclude",
    "--nproc-per-node": "--nproc",
    "--devices": "--nproc",
    "--node-rank": "the order of the hosts",
    "--master-addr": "--main-address",
    "--main-address": "--main-address",
    "--master-port": "--main-port",
    "--main-port": "--main-port",
    "--rdzv-id": "--name",
    "--rdzv-backend": None,
    "--rdzv-endpoint": None,
    "--rdzv-conf": None,
    "--local-addr": None,
    "--standalone": None,
    "--no-python": None,
    "--module": "--module",
    "-m": "--module",
}


def check_elastic(name: str, arguments: Sequence[str], elastic: Elastic, nodes: int) -> None:
    """Raise UsageError when the launcher `name` cannot be elastic, or not with so many nodes."""
    asked = f"--elastic {elastic.fewest}:{elastic.most}"
    if name != "torchrun":
        raise UsageError(
            f"{asked}: with --launcher {name} nobody starts ranks again",
            remedy="use --launcher torchrun, or --restarts alone, with which orch starts all of it again",
        )
    if not elastic.fewest <= nodes <= elastic.most:
        remedy = "choose fewer with --nodes" if nodes > elastic.most else "lower MIN, or add hosts"
        raise UsageError(f"{asked}: there are {nodes} nodes", remedy=remedy)
    if any(option_of(argument) == "--max-restarts" for argument in arguments):
        raise UsageError(f"{asked}: orch sets --max-restarts itself then", remedy="use --restarts")


def option_of(argument: str) -> str:
    """Return the option of `--an_option=VALUE` as torchrun documents it: `--an-option`."""
    return argument.split("=", 1)[0].replace("_", "-")


def check_arguments(name: str, arguments: Sequence[str]) -> None:
    """Raise UsageError when `arguments` for the launcher are the plan's own, or there is no launcher."""
    if arguments and name in ("python", "direct"):
        raise UsageError(
            f"--launcher-arg {arguments[0]}: with --launcher {name} there is no launcher to take it"
        )
    for argument in arguments:
        option = option_of(argument)
        if option in _OWNED:
            instead = _OWNED[option]
            raise UsageError(
                f"--launcher-arg {argument}: orch sets {option} itself",
                remedy=f"use {instead}" if instead else None,
            )


def find(name: str) -> Launcher:
    """Return the launcher called `name`, one of NAMES."""
    from orchestrator.plan import direct, fabric, python, torchrun

    return {
        "torchrun": torchrun.processes,
        "fabric": fabric.processes,
        "python": python.processes,
        "direct": direct.processes,
    }[name]
