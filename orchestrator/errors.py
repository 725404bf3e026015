"""All errors that orch raises on purpose.

OrchError                    a problem that the user can solve
├── UsageError               the command line or the arguments of a call are wrong  (exit 2)
│   └── InventoryError       the inventory file or a host selection is wrong        (exit 2)
├── Interrupted              interrupted before anything was started                (exit 128 + signal)
├── OutputError              the output cannot be written                           (exit 1)
└── LaunchError              the job could not be started                           (exit 125)
    ├── ConnectError         nodes cannot be reached over SSH
    ├── SyncError            files cannot be copied to a node
    ├── PlanError            the nodes, as they are, cannot run this job
    ├── PreflightError       a check found a reason for the job to hang or fail
    └── NodeError            the agent on a node failed or the connection to it
        ├── LoginRefused     a node answers and does not accept the login
        ├── NodeGone         a node was taken away, and does not come back
        └── ConnectionLost   the connection to a node broke; its processes may still run

Each says what happened, where, and what to do. The command line prints `str(error)` and exits with
`error.exit_code`; none of these is ever shown as a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OrchError(Exception):
    """A problem that the user can solve.

    `text` is what happened and `node` the node that it happened on, or empty; `message` has both:
    `node1: no answer`. `remedy` is how to fix it, None if that is unknown.
    """

    exit_code = 1

    def __init__(self, text: str, *, node: str = "", remedy: str | None = None) -> None:
        super().__init__(text)
        self.node = node
        self.text = text
        self.remedy = remedy

    @property
    def message(self) -> str:
        return f"{self.node}: {self.text}" if self.node else self.text

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class UsageError(OrchError):
    """The command line or the arguments of a call are wrong."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One problem in an inventory file: its position (1-based) and what is wrong."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class InventoryError(UsageError):
    """The inventory file or a host selection is wrong; `problems` has all problems of the file."""

    def __init__(
        self, message: str, *, problems: Sequence[Problem] = (), remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)


class OutputError(OrchError):
    """The output cannot be written: the disk is full, for example."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror or error}")


class LaunchError(OrchError):
    """The job could not be started."""

    exit_code = 125


@dataclass(frozen=True)
class Unreachable:
    """Why one node cannot be reached: the id of the `cause`, one sentence, and the remedy.

    `cause` is one of: refused, timed-out, no-route, name, host-key-unknown, host-key-changed,
    authentication, protocol, gateway, shell, agent (the login works, but orch's agent failed), program
    (what runs commands there failed), container (it does not run, so what ran in it has ended), slurm
    (its srun starts no step there), gone (the node was taken away, and does not come back).

    The parts that differ between nodes, if any: `place` is the node's address as `message` has it;
    `command` is a command line in `remedy` that ends with `login`; `evidence` is in brackets in `message`.
    `methods` are the ways to log in that sshd still accepts, if it refused one.
    `is_busy`: sshd may only have refused too many handshakes at once (MaxStartups), from any client.
    """

    node: str
    cause: str
    message: str
    remedy: str
    place: str = ""
    command: str = ""
    login: str = ""
    evidence: str = ""
    methods: tuple[str, ...] = ()
    is_busy: bool = False

    def __str__(self) -> str:
        return f"{self.node}: {self.message}\n  → {self.remedy}"


class ConnectError(LaunchError):
    """Some nodes cannot be reached over SSH; `failures` has one per node, in host order.

    `messages` replaces the messages of `failures`, for example with similar ones merged.
    """

    def __init__(
        self, failures: Sequence[Unreachable], total: int, messages: Sequence[str] = ()
    ) -> None:
        self.failures = tuple(failures)
        count = len(self.failures)
        head = f"{count} of {total} nodes cannot be reached; nothing was started"
        super().__init__("\n".join([head, *(messages or map(str, self.failures))]))


class SyncError(LaunchError):
    """Files cannot be copied to a node."""


class PlanError(LaunchError):
    """The nodes, as they are, cannot run this job."""


class PreflightError(LaunchError):
    """A check found a reason for the job to hang or fail."""


class NodeError(LaunchError):
    """The agent on `node` failed, or the connection to it."""

    def __init__(self, node: str, text: str, *, remedy: str | None = None) -> None:
        super().__init__(text, node=node, remedy=remedy)


class LoginRefused(NodeError):
    """A node answers and does not accept the login; that needs the user, trying again does not help."""


class NodeGone(NodeError):
    """A node was taken away, with all that ran there: its job ended, for example."""


class ConnectionLost(NodeError):
    """The connection to a node broke; its processes may still run."""


class Interrupted(OrchError):
    """Interrupted by this signal before anything was started."""

    def __init__(self, signal: int) -> None:
        super().__init__("interrupted; nothing was started")
        self.exit_code = 128 + signal
