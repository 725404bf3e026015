"""What it is to reach a node: one open connection, and the commands that run over it.

Use cases are written against `Node` and `Channel`; `ssh.py` is the real thing, `fake.py` runs the
same scripts on this machine, for tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import LinkLost, NodeError, Unreachable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = ["Channel", "Completed", "LinkLost", "Node", "ShellError"]


@dataclass(frozen=True)
class Completed:
    """A command that ran to its end; `exit_code` is 128 + N when signal N ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class ShellError(NodeError):
    """The login shell on a node did not come to our script; `verdict` says so as a value."""

    def __init__(self, verdict: Unreachable) -> None:
        super().__init__(f"{verdict.node}: {verdict.message}", remedy=verdict.remedy)
        self.verdict = verdict


class Channel(Protocol):
    """A command running on a node, bytes both ways.

    Every method that waits raises LinkLost when the connection breaks, after all bytes that
    arrived have been read: an end of stream is always a true one.
    """

    async def read(self, limit: int = 262144) -> bytes:
        """Return what is there, at most `limit` bytes, waiting for the first; b"" at the end."""

    async def readline(self, limit: int = 1 << 20) -> bytes:
        """Return one line with its newline; at the end what is left of one.

        Raises NodeError when the line is longer than `limit` bytes (at most 1 MiB).
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

        Raises ShellError when the login shell never comes to it, LinkLost when the connection is
        gone, NodeError when the node refuses another session.
        """

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        """Run `script` to its end, with `input` on its standard input.

        Raises what `open` raises, and NodeError after `timeout` seconds.
        """

    async def close(self) -> None:
        """Close the connection and every channel on it."""
