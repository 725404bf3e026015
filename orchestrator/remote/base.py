"""What it is to reach a node: a transport, one open connection, and the commands that run over it.

Use cases are written against `Transport`, `Node` and `Channel`. `ssh/` and `embedded/` are the transports
that orch has, `transports.py` finds one by its name, and docs/extending.md shows how to add one.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from orchestrator.errors import ConnectionLost, NodeError, Unreachable
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = [
    "Capabilities",
    "Channel",
    "Completed",
    "ConnectionLost",
    "Node",
    "OnResult",
    "Screen",
    "ShellError",
    "TerminalChannel",
    "TerminalNode",
    "Transport",
]


MOST_OUTPUT = 1 << 20
"""Bytes that a command may print which is run to its end (`Node.run`)."""


@dataclass(frozen=True)
class Completed:
    """A command that ran to its end; `exit_code` is 128 + N when signal N ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


async def read_all(node: str, channel: Channel) -> bytes:
    """Return all that a command prints. Raises NodeError when that is over a MiB."""
    out = bytearray()
    while chunk := await channel.read():
        out += chunk
        if len(out) > MOST_OUTPUT:
            raise NodeError(
                node,
                f"a command of orch's printed more than {MOST_OUTPUT:,} bytes: "
                f"{printable(bytes(out[:200]), 80)}",
                remedy=f"see what it is that prints so much there: `python:` of {node} in the inventory, "
                "or a start-up file of the login shell",
            )
    return bytes(out)


class ShellError(NodeError):
    """The login shell on a node did not come to our script; `verdict` says so as a value."""

    def __init__(self, verdict: Unreachable) -> None:
        super().__init__(verdict.node, verdict.message, remedy=verdict.remedy)
        self.verdict = verdict


class Channel(Protocol):
    """A command running on a node, bytes both ways.

    Every method that waits raises ConnectionLost when the connection breaks, after all bytes that
    arrived have been read: an end of stream is always a true one.
    """

    heard_at: float
    """When the command last wrote anything that came here (time.monotonic)."""

    async def read(self, limit: int = 262144) -> bytes:
        """Return what is there, at most `limit` bytes, waiting for the first; b"" at the end."""

    async def readline(self, limit: int = 1 << 20) -> bytes:
        """Return one line with its newline; at the end what is left of one.

        Raises NodeError when the line is longer than `limit` bytes.
        """

    async def readexactly(self, n: int) -> bytes:
        """Return exactly `n` bytes; raises asyncio.IncompleteReadError when fewer are left."""

    async def write(self, data: bytes) -> None:
        """Send `data` to the command's standard input, waiting while the node takes no more.

        Data for a command that no longer reads is dropped: its exit code tells the story.
        """

    def write_eof(self) -> None:
        """Close the command's standard input."""

    async def wait(self) -> int:
        """Return the exit code, 128 + N when signal N ended the command."""

    @property
    def stderr(self) -> bytes:
        """The last 64 KiB that the command wrote to standard error."""

    @property
    def noise(self) -> bytes:
        """What the login shell printed before our script began (at most 1 MiB)."""

    def close(self) -> None:
        """Give the channel up. The command sees closed pipes, no signal."""


class Node(Protocol):
    """One open connection to a node."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> Host: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of how it was reached."""

    async def open(self, script: str) -> Channel:
        """Start `script` (POSIX sh) on the node and return once it runs.

        Raises ShellError when the login shell never comes to it, ConnectionLost when the connection is
        gone, NodeError when the node refuses another session.
        """

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        """Run `script` to its end, with `input` on its standard input.

        Raises what `open` raises, and NodeError after `timeout` seconds, or when the script prints more
        than a MiB.
        """

    async def close(self) -> None:
        """Close the connection and every channel on it."""


@dataclass(frozen=True)
class Screen:
    """The terminal here: its kind ($TERM), and its size."""

    kind: str
    columns: int
    lines: int


class TerminalChannel(Channel, Protocol):
    """A channel that may have a pseudo-terminal at its other end."""

    def resize(self, columns: int, lines: int) -> None:
        """Tell the other end the size of the terminal here."""


@runtime_checkable
class TerminalNode(Protocol):
    """A node that offers a person a terminal, beside what `Node` offers."""

    async def open_terminal(self, script: str | None, screen: Screen | None) -> TerminalChannel:
        """Start `script` (POSIX sh), or the login shell, with a pseudo-terminal like `screen` (None: none).

        Raises ConnectionLost and NodeError as `Node.open` does.
        """


@dataclass(frozen=True)
class Capabilities:
    """What a transport can do. Whoever uses it is refused what it cannot, with the reason."""

    outlives_controller: bool = True
    """What it has started on a node goes on when its connection, or this machine, is gone."""
    many_sessions: bool = True
    """A connection has several channels open at once; without it, one."""
    carries_rsync: bool = True
    """Channels carry any bytes both ways, unchanged: rsync can talk over one beside the agent's."""
    detects_lost_link: bool = True
    """A channel to a node that has vanished raises ConnectionLost in bounded time, even if it is idle."""


OnResult = Callable[[str, Node | Unreachable, float], None]
"""Told a host's name, its connection or why there is none, and the seconds that took."""


_LONGEST_TIME = 1e9  # seconds, 32 years


def seconds(name: str, value: Any) -> float:
    """Return an option that is a number of seconds. Raises ValueError for anything else."""
    if type(value) not in (int, float) or not 0 < value < _LONGEST_TIME:
        raise ValueError(f"{name} is a number of seconds, not {value!r:.100}")
    return float(value)


class Transport(ABC):
    """A way to nodes. It is used between `__aenter__` and `__aexit__`, by whoever made it.

    `timeout` is the seconds within which a node is connected to, or known to be unreachable. A subclass is
    made from its options alone (`parse`): those of the command line, and later those of a run's record.
    """

    name: ClassVar[str] = ""
    """What `--transport`, and the record of a run, call it: the name of its entry point."""
    capabilities: Capabilities = Capabilities()

    def __init__(self, timeout: float = 10.0) -> None:
        self.timeout = seconds("timeout", timeout)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Return the transport with these options, JSON values. Raises ValueError for any others."""
        for name in options.keys() - inspect.signature(cls).parameters.keys():
            raise ValueError(f"it has no option {name!r:.100}")
        try:
            return cls(**options)
        except TypeError as error:  # one is missing
            raise ValueError(str(error)) from error

    def describe(self) -> dict[str, Any]:
        """Return the options with which `parse` makes it again, in another process: JSON, and no secret."""
        return {"timeout": self.timeout}

    @abstractmethod
    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        """Connect to all `hosts` at once; return, in their order, the nodes or why there is none.

        `on_result` is called as each verdict is known. A host's own fault never raises; UsageError is for
        a configuration that makes no sense. Cancelled, it leaves no connection behind.
        """

    def with_silence_limit(self, silence: float) -> Transport:
        """Return it so that a connection breaks that has been silent for `silence` seconds, where it can.

        What is returned is not opened or closed: it lives as long as this one.
        """
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 (most have nothing to give up)
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give up what connecting needs; open connections are closed by whoever has them."""
