"""What a launcher is: it turns one node's share of a job into processes, and says what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import UsageError
from orchestrator.plan.job import Job


@dataclass(frozen=True)
class Process:
    """One process that the supervisor starts on a node.

    `rank` is None for a launcher, which starts the ranks itself; the process is named `launcher` then, else
    `rank-N`. Where the ranks of a launcher are a program, its command line ends `argv`, from `program_at`
    on (None: the launcher starts them with `$PYTHON_EXEC`).
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    rank: int | None = None
    local_rank: int | None = None
    program_at: int | None = None


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
    is_uniform: bool = False
    """Whether every node of the job has as many ranks as this one."""


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
    """What `--launcher` and the inventory call it."""
    help: str
    """What it starts, in a few words; they stand in parentheses after its name."""

    needs: tuple[str, ...] = ()
    """The Python packages that it imports on a node, such as torch."""
    module: str | None = None
    """The module that `python -m` starts on a node, if there is one; the preflight tries its `--help`."""
    once_per_node: bool = False
    """Whether it starts the job once on each node, where the script starts the ranks itself: orch sees one
    process a node then, as the first rank there, in place of every rank."""
    can_be_elastic: bool = False
    """Whether it does what `job.elastic` asks for: start ranks again, without nodes that are lost."""
    configures_fabric: bool = False
    """Whether a `Fabric()` in the script takes its arguments from this launcher's command line."""

    @abstractmethod
    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        """Return what runs on one node: one process without a rank, or processes for ranks of the share.

        Raises UsageError or PlanError when it cannot run this job there.
        """

    def check_job(self, job: Job) -> None:
        """Raise UsageError when it cannot take the job's `launcher_arguments`: without this, any."""
        if job.launcher_arguments:
            raise UsageError(
                f"--launcher-arg {job.launcher_arguments[0]}: with --launcher {self.name} there is no "
                "launcher to take it"
            )

    def check_variables(self, variables: Mapping[str, str]) -> None:
        """Raise UsageError when it would take one of the job's variables for something else."""
        return

    def option_of_variable(self, variable: str) -> str | None:
        """Return the option, as `--max-restarts`, that it takes from this variable; None for none."""
        return None

    def check_script(self, text: str) -> ScriptProblem | None:
        """Return why a script with this text is sure to fail under it, if that can be seen."""
        return None

    def restarts_ranks(self, argv: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Tell whether, with this command line, it starts ranks again that have failed."""
        return False

    def without_restarts(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return the job's arguments for it without those that have it start ranks again."""
        return tuple(arguments)
