"""Every error that orch raises on purpose, in one family.

OrchError                   something went wrong that a person can act on
├── UsageError              the command line or the arguments of a call are wrong   (exit 2)
│   └── InventoryError      the inventory file or a host selection is wrong        (exit 2)
├── Interrupted              a person ended it before anything was started             (exit 128 + signal)
├── OutputError             what was to be shown cannot be written                    (exit 1)
└── LaunchError             orch could not start the job                           (exit 125)
    ├── ConnectError        nodes cannot be reached over SSH
    ├── SyncError           files cannot be brought to a node
    ├── PlanError           the nodes, as they are, cannot run this job
    ├── PreflightError      a check found what would make the job hang or fail
    └── NodeError           orch's own agent on a node failed or broke off
        ├── LoginRefused    a node answers and does not accept the login
        └── ConnectionLost  the connection to a node broke; its processes may still run

Each says what happened, where, and what to do about it. The command line prints `str(error)` and
exits with `error.exit_code`; nothing here is ever shown as a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OrchError(Exception):
    """Something went wrong that a person can act on.

    `text` is what happened, `node` the node that it happened on, or empty; `message` is both, for a person:
    `node1: no answer`. `remedy` is what to do about it, if anything is known.
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
    """One fault in an inventory file: where it stands (1-based) and what is wrong with it."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class InventoryError(UsageError):
    """The inventory file or a host selection is wrong; `problems` has every fault of the file."""

    def __init__(
        self, message: str, *, problems: Sequence[Problem] = (), remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)


class OutputError(OrchError):
    """What was to be shown cannot be written: the disk is full, say."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror or error}")


class LaunchError(OrchError):
    """orch could not start the job."""

    exit_code = 125


@dataclass(frozen=True)
class Unreachable:
    """Why one node cannot be reached: a `cause` id, one sentence, and what to do.

    `cause` is one of: refused, timed-out, no-route, name, host-key-unknown, host-key-changed,
    authentication, protocol, gateway, shell, agent (it can be logged into, but orch's agent failed).

    What of it is the node's own, where anything is: `place` is where it is, in the words of `message`;
    `command` a line to paste that `remedy` has, whose last word is `login`; `evidence` stands in brackets
    in `message`. `is_busy`: sshd may only have had too many handshakes at once (MaxStartups), of anybody's.
    """

    node: str
    cause: str
    message: str
    remedy: str
    place: str = ""
    command: str = ""
    login: str = ""
    evidence: str = ""
    is_busy: bool = False

    def __str__(self) -> str:
        return f"{self.node}: {self.message}\n  → {self.remedy}"


class ConnectError(LaunchError):
    """Some nodes cannot be reached over SSH; `failures` has one verdict per node, in host order.

    `told` is how they are told, where that is not one by one.
    """

    def __init__(
        self, failures: Sequence[Unreachable], total: int, told: Sequence[str] = ()
    ) -> None:
        self.failures = tuple(failures)
        count = len(self.failures)
        head = f"{count} of {total} nodes cannot be reached; nothing was started"
        super().__init__("\n".join([head, *(told or map(str, self.failures))]))


class SyncError(LaunchError):
    """Files cannot be brought to a node."""


class PlanError(LaunchError):
    """The nodes, as they are, cannot run this job."""


class PreflightError(LaunchError):
    """A check found what would make the job hang or fail."""


class NodeError(LaunchError):
    """orch's own agent on `node` failed or broke off."""

    def __init__(self, node: str, text: str, *, remedy: str | None = None) -> None:
        super().__init__(text, node=node, remedy=remedy)


class LoginRefused(NodeError):
    """A node is there, and there is no way to log in: somebody must see to it, time does not mend it."""


class ConnectionLost(NodeError):
    """The connection to a node broke; what runs there may run on."""


class Interrupted(OrchError):
    """A person ended it, by this signal, before anything was started."""

    def __init__(self, signal: int) -> None:
        super().__init__("interrupted; nothing was started")
        self.exit_code = 128 + signal
