"""The base class of launchers: from one node's share of a job to processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.plan.job import Job


@dataclass(frozen=True)
class Process:
    """One process that the supervisor starts on a node.

    It is named `rank-N`; or `launcher`, with `rank` None, if it starts the ranks itself or serves one
    (`Launcher.runs_once`). If what it starts for a rank is a program, its command line is the end of
    `argv`, from `program_at` on (None: it starts the ranks with `$PYTHON_EXEC`).
    With `numa_binding`, one of `node/numa.py`, a rank runs on CPUs near its GPU.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    rank: int | None = None
    local_rank: int | None = None
    program_at: int | None = None
    numa_binding: str | None = None


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
    """The node's own on the network of the ranks."""
    is_uniform: bool = False
    """Whether every node of the job has as many ranks as this one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The variables that the inventory and the job set on the node."""


@dataclass(frozen=True)
class ScriptProblem:
    """Why a script is sure to fail under a launcher: the line (from 1), what is wrong, and what to do."""

    line: int
    message: str
    remedy: str


class Launcher(ABC):
    """A way to start the ranks of a job on its nodes; it holds no state of a run.

    Another package adds one as an instance of a subclass, in the entry point group `orch.launchers` under
    its `name`.
    """

    name: str
    """Its name in `--launcher` and in the inventory."""
    help: str
    """What it starts, in a few words; shown in parentheses after its name."""

    needs: tuple[str, ...] = ()
    """The Python packages that it imports on a node, such as torch."""
    module: str | None = None
    """The module that `python -m` starts on a node, if any; the preflight tries its `--help`."""
    once_per_node: bool = False
    """Whether it starts the script once on each node, and the script starts the ranks: orch then sees one
    process a node, as the first rank there, in place of every rank."""
    runs_once: bool = False
    """Whether it starts the script once, as rank 0 on the main node, and on every node a process without a
    rank, which serves that: it must last as long as the rank, and is stopped after it. Each node then has a
    folder for their files, the same on all (`node.scratch.folder_of` the run), which is removed at the
    end."""
    can_be_elastic: bool = False
    """Whether it supports `job.elastic`: restarts ranks, without nodes that are lost."""
    configures_fabric: bool = False
    """Whether a `Fabric()` in the script takes its arguments from this launcher's command line."""

    @abstractmethod
    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        """Return what runs on one node: one process without a rank, or processes for ranks of the share.

        Raises UsageError or PlanError if it cannot run this job there.
        """

    def check_job(self, job: Job) -> None:
        """Raise UsageError if it cannot take the job's `launcher_arguments`; by default, any."""
        if job.launcher_arguments:
            raise UsageError(
                f"--launcher-arg {job.launcher_arguments[0]}: with --launcher {self.name} there is no "
                "launcher to take it"
            )

    def check_variables(self, variables: Mapping[str, str]) -> None:
        """Raise UsageError if it would take one of the job's variables for something else."""
        return

    def option_of_variable(self, variable: str) -> str | None:
        """Return the option, such as `--max-restarts`, that it reads from this variable; None for none."""
        return None

    def why_chosen(self, text: str, job: Job, folder: Path | None) -> str | None:
        """Return why a script with this text surely is for this launcher, worded to follow its file name.

        Asked if no launcher is named; None unless it is sure. `folder` is as in `configure`.
        """
        return None

    def configure(self, job: Job, folder: Path | None) -> Job:
        """Return the job with what files on this machine say to this launcher; by default, nothing.

        `folder` is the copied folder in which the ranks start (None: nothing is copied). Called once for
        a launch, also before its restarts. Raises UsageError.
        """
        return job

    def check_script(self, text: str, job: Job) -> ScriptProblem | None:
        """Return why a script with this text is sure to fail under it, if that can be seen."""
        return None

    def restarts_ranks(self, argv: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Tell whether it restarts failed ranks, with this command line."""
        return False

    def trial_arguments(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return its arguments for a script of orch's own: those of the job, without those that make it
        restart ranks, read files of the project, or pass arguments to the script.
        """
        return tuple(arguments)
