"""A node over a master of OpenSSH's client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from orchestrator.errors import ConnectionLost, NodeError
from orchestrator.remote.base import Completed, Screen
from orchestrator.remote.openssh import mux
from orchestrator.remote.openssh.channel import OpensshChannel
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.script import command_for
from orchestrator.remote.ssh.shell import run_in_shell
from orchestrator.remote.ssh.verdicts import Verdicts
from orchestrator.util.log import node_logger
from orchestrator.util.ssh_patterns import matches
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host


def sent(patterns: Sequence[str]) -> dict[str, str]:
    """Return the variables of this process that match one of the patterns of SendEnv."""
    return {
        name: value
        for name, value in os.environ.items()
        if any(matches(name, pattern) for pattern in patterns)
    }


class OpensshNode:
    """The `Node` at `target`, whose sessions go over the master at `path`; `close` leaves the master."""

    def __init__(
        self, host: Host, target: Target, path: Path, warnings: tuple[str, ...] = ()
    ) -> None:
        self._host = host
        self._target = target
        self._path = str(path)
        self._warnings = warnings
        self._channels: WeakSet[OpensshChannel] = WeakSet()
        self._is_closed = False
        self._log = node_logger("ssh", host.name)

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def host(self) -> Host:
        return self._host

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    async def open(self, script: str) -> OpensshChannel:
        return await run_in_shell(self._session, script, Verdicts(self.name, self._target))

    async def open_terminal(self, script: str | None, screen: Screen | None) -> OpensshChannel:
        """Start `script` (POSIX sh), or the login shell; with a pseudo-terminal like `screen` unless None.

        Output of start-up files is kept. Raises ConnectionLost and NodeError as `open` does.
        """
        return await self._session(None if script is None else command_for(script), screen)

    async def _session(self, command: str | None, screen: Screen | None = None) -> OpensshChannel:
        if self._is_closed:
            raise ConnectionLost(self.name, "the connection is closed")
        self._log.debug("opening a session")
        try:
            request = mux.Request(command, environment=sent(self._target.send_env))
            channel = await OpensshChannel.open(self.name, self._path, request, screen)
        except mux.Gone as error:
            raise ConnectionLost(self.name, "the connection broke") from error
        except mux.Refused as error:
            raise NodeError(
                self.name,
                f"sshd refuses another session ({printable(str(error))})",
                remedy="raise MaxSessions in the node's sshd_config (its default is 10)",
            ) from error
        self._channels.add(channel)
        return channel

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        channel = await self.open(script)  # has its own timeout, for slow start-up files
        remedy = f"check the load of the node: {self._target.command('uptime')}"
        return await channel.run_to_end(input, timeout, remedy)

    def share(self, host: Host) -> OpensshNode:
        return OpensshNode(host, self._target, Path(self._path))

    async def close(self) -> None:
        self._is_closed = True
        channels = list(self._channels)
        for channel in channels:
            channel.close()
        await asyncio.gather(*(channel.wait_closed() for channel in channels))
