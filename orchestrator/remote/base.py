"""Interfaces for reaching nodes: a transport, an open connection, and a command that runs over it.

Other packages use only `Transport`, `Node` and `Channel`. `ssh/` and `embedded/` are orch's own transports,
`transports.py` finds one by name, and docs/extending.md shows how to add one.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from orchestrator.errors import ConnectionLost, NodeError, Unreachable
from orchestrator.util.text import nearest

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = [
    "CONTAINER",
    "GONE",
    "Capabilities",
    "Channel",
    "Completed",
    "ConnectionLost",
    "Node",
    "NodesTaken",
    "OnResult",
    "Screen",
    "SharedNode",
    "ShellError",
    "TerminalChannel",
    "TerminalNode",
    "Transport",
]


@dataclass(frozen=True)
class Completed:
    """A command that has ended; `exit_code` is 128 + N if signal N ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class ShellError(NodeError):
    """The login shell on a node did not run orch's script; `verdict` says why."""

    def __init__(self, verdict: Unreachable) -> None:
        super().__init__(verdict.node, verdict.message, remedy=verdict.remedy)
        self.verdict = verdict


class Channel(Protocol):
    """A command running on a node, with its standard streams.

    Every method that waits raises ConnectionLost if the connection breaks, after all bytes that arrived
    have been read. So the end of a stream always means the end of the command's output.
    """

    heard_at: float
    """When output of the command last arrived (time.monotonic)."""

    async def read(self, limit: int = 262144) -> bytes:
        """Wait for output and return at most `limit` bytes; b"" at the end."""

    async def readline(self, limit: int = 1 << 20) -> bytes:
        """Return one line with its newline; at the end, the rest without one.

        Raises NodeError if the line is longer than `limit` bytes.
        """

    async def readexactly(self, n: int) -> bytes:
        """Return exactly `n` bytes. Raises asyncio.IncompleteReadError if the output ends earlier."""

    async def write(self, data: bytes) -> None:
        """Send `data` to the command's standard input; wait while the node accepts no more.

        Data for a command that has stopped reading is dropped; see its exit code for the reason.
        """

    def write_eof(self) -> None:
        """Close the command's standard input."""

    async def wait(self) -> int:
        """Return the exit code, 128 + N if signal N ended the command."""

    @property
    def stderr(self) -> bytes:
        """The last 64 KiB that the command wrote to standard error."""

    @property
    def noise(self) -> bytes:
        """Output of the login shell before orch's script started (at most 1 MiB)."""

    def close(self) -> None:
        """Close the channel. The command sees closed pipes, no signal."""


class Node(Protocol):
    """One open connection to a node."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> Host: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user about how it was reached."""

    async def open(self, script: str) -> Channel:
        """Start `script` (POSIX sh) on the node and return once it runs.

        Raises ShellError if the login shell does not run it, ConnectionLost if the connection is gone,
        NodeError if the node refuses another session.
        """

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        """Run `script` to its end, with `input` on its standard input.

        Raises what `open` raises, and NodeError after `timeout` seconds, or if the script prints more than
        a MiB.
        """

    async def close(self) -> None:
        """Close the connection and every channel on it."""


@dataclass(frozen=True)
class Screen:
    """The user's terminal: its type ($TERM) and size."""

    kind: str
    columns: int
    lines: int


class TerminalChannel(Channel, Protocol):
    """A channel that may have a pseudo-terminal on the node."""

    def resize(self, columns: int, lines: int) -> None:
        """Report the size of the user's terminal to the node."""


@runtime_checkable
class TerminalNode(Protocol):
    """A `Node` that also offers terminals."""

    async def open_terminal(self, script: str | None, screen: Screen | None) -> TerminalChannel:
        """Start `script` (POSIX sh), or the login shell; with a pseudo-terminal like `screen` unless None.

        Raises ConnectionLost and NodeError as `Node.open` does.
        """


@runtime_checkable
class SharedNode(Protocol):
    """A `Node` whose connection other nodes may use, too."""

    def share(self, host: Host) -> Node:
        """Return the node `host`, whose sessions go over the same connection.

        Closing either leaves the connection open for the other; channels are closed by who opened them.
        """


@dataclass(frozen=True)
class Capabilities:
    """What a transport can do. orch refuses commands that need more, with the reason."""

    outlives_controller: bool = True
    """Commands keep running on a node if the connection, or this machine, is gone."""
    many_sessions: bool = True
    """A connection has several channels at once; without it, one."""
    carries_rsync: bool = True
    """Channels carry any bytes both ways, unchanged: rsync can use one beside the agent's."""
    detects_lost_link: bool = True
    """A channel to a node that has vanished raises ConnectionLost in bounded time, even if it is idle."""


GONE = "gone"
"""The cause of an `Unreachable` node that was taken away and does not come back."""
CONTAINER = "container"
"""The cause of an `Unreachable` node whose container does not run: what ran there has ended with it."""


@dataclass(frozen=True)
class NodesTaken:
    """Why the nodes of a run were taken away, by whatever had lent them: its word, and a text."""

    kind: Literal["cancelled", "time-limit", "node-failed", "preempted", "ended"]
    text: str


OnResult = Callable[[str, Node | Unreachable, float], None]
"""Called with a host's name, its connection or why there is none, and the seconds that took."""


_MAX_SECONDS = 1e9  # 32 years


def seconds(name: str, value: Any) -> float:
    """Return `value`, the option `name` in seconds. Raises ValueError if it is not a valid number."""
    if type(value) not in (int, float) or not 0 < value < _MAX_SECONDS:
        raise ValueError(f"{name} is a number of seconds, not {value!r:.100}")
    return float(value)


class Transport(ABC):
    """A way to reach nodes, used between `__aenter__` and `__aexit__`.

    `timeout` is the time in seconds to connect to a node. A subclass can be made from its options alone
    (`parse`): from the command line, and later from a run's record.
    """

    name: ClassVar[str] = ""
    """Its name in `--transport` and in records of runs: that of its entry point."""
    capabilities: Capabilities = Capabilities()

    def __init__(self, timeout: float = 10.0) -> None:
        self.timeout = seconds("timeout", timeout)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Return the transport with these options, JSON values. Raises ValueError for invalid ones."""
        valid = inspect.signature(cls).parameters
        for name in sorted(options.keys() - valid.keys()):
            meant = nearest(name, valid)
            hint = f"did you mean {meant!r}?" if meant else f"its options are {', '.join(valid)}"
            raise ValueError(f"it has no option {name!r:.100}; {hint}")
        try:
            return cls(**options)
        except TypeError as error:  # an option is missing
            raise ValueError(str(error)) from error

    def describe(self) -> dict[str, Any]:
        """Return the options with which `parse` recreates it in another process: JSON, no secrets."""
        return {"timeout": self.timeout}

    @abstractmethod
    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        """Connect to all `hosts` at once; return, in their order, the nodes or the reasons for failure.

        `on_result` is called for each host when it is done. If a host fails, nothing is raised; UsageError
        means an invalid configuration. If cancelled, it closes all connections.
        """

    def with_silence_limit(self, silence: float) -> Transport:
        """Return a view of it whose connections break after `silence` seconds without data, if it can
        detect that.

        The view is not opened or closed itself.
        """
        return self

    def hand_over(self) -> None:  # noqa: B027 (most hold nothing)
        """When closed, leave what a process with the same options needs to continue."""

    async def why_taken(self, hang_up: Callable[[], Awaitable[None]]) -> NodesTaken | None:
        """Return why the nodes were taken away; None if they were not, as far as is known.

        Calls `hang_up`, which closes all connections, if that is not known before.
        """
        return None

    async def release(self) -> None:  # noqa: B027 (most have nothing to give back)
        """Give back what was taken for the run, which has ended. May be called again.

        Raises LaunchError, which says what is left, if that does not succeed.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 (most have nothing to release)
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release what connecting needs. Open connections stay open: their users close them."""
