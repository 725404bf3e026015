"""A login host as the machine on which Slurm's programs run, reached over SSH."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from orchestrator.errors import ConnectionLost, InventoryError, LaunchError, NodeError, Unreachable
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.remote.base import Channel, Completed, Node, SharedNode
from orchestrator.remote.ssh.transport import SshTransport
from orchestrator.remote.ssh.verdicts import behind
from orchestrator.slurm.commands import TIMEOUT, answer
from orchestrator.slurm.environment import CLEAN_LOGIN
from orchestrator.util.quoting import command_line

if TYPE_CHECKING:
    from orchestrator.inventory import Host

T = TypeVar("T")

# sshd allows ten sessions of a connection (MaxSessions). A node uses one for its agent, and up to two more
# while files are copied or the agent is replaced.
_NODES_PER_CONNECTION = 3
_LOGINS_AT_ONCE = 8
_NO_PROGRAM = 127


class LoginHost:
    """The login host `given`, as ssh takes it: `user@login`, or a name in ssh_config.

    Slurm's commands share one connection, and so do the steps on a few nodes each. A connection that breaks
    is replaced at its next use. Raises ValueError if `given` is no host.
    """

    def __init__(
        self, given: str, timeout: float | None = None, *, accept_new: bool = False
    ) -> None:
        self.given = given
        self.environment: Mapping[str, str] = {}
        self._host = _read_host(given)
        self._ssh = SshTransport(timeout, accept_new)
        self._logins = asyncio.Semaphore(_LOGINS_AT_ONCE)
        self._connections: list[_Connection] = []

    def describe(self) -> dict[str, Any]:
        """Return the options of a transport that make it again: JSON, no secrets."""
        return {"login": self.given, "accept_new": self._ssh.options.accept_new}

    def with_silence_limit(self, silence: float) -> LoginHost:
        """Return a view whose new connections break after `silence` seconds without data."""
        view = copy.copy(self)
        view._ssh = self._ssh.with_silence_limit(silence)
        return view

    def hand_over(self) -> None:
        """When closed, leave what a process with the same login needs to continue."""
        self._ssh.hand_over()

    async def log_in(self) -> tuple[str, ...]:
        """Connect, and return warnings for the user about how that was done. Raises NodeError."""
        return (await self._for_commands().node()).warnings

    async def ask(self, *argv: str) -> str:
        """Return the output of one of Slurm's programs there. Raises LaunchError."""
        connection = self._for_commands()
        node = await connection.node()
        try:
            done = await node.run(_script(argv), timeout=TIMEOUT)
        except ConnectionLost:
            connection.is_lost = True
            raise
        if done.exit_code == _NO_PROGRAM:
            raise self.not_installed(argv[0])
        return answer(argv, done.exit_code, done.stdout, done.stderr)

    async def node(self, host: Host, argv: Sequence[str]) -> Node | Unreachable:
        """Return the node whose scripts `argv` runs there, or why the login host cannot be reached."""
        connection = self._connection(for_commands=False)
        connection.nodes += 1
        node = await connection.opened()
        if isinstance(node, Unreachable):
            return behind(host.name, node)
        if not isinstance(node, SharedNode):
            raise AssertionError("every connection over SSH can be shared")
        return StepNode(connection, node.share(host), argv)

    def _for_commands(self) -> _Connection:
        return self._connection(for_commands=True)

    def _connection(self, *, for_commands: bool) -> _Connection:
        """Return a connection with room for a node, or that for commands; a new one if there is none."""
        for each in self._connections:
            if each.for_commands == for_commands and each.ssh is self._ssh and each.has_room:
                return each
        opening = asyncio.create_task(self._log_in(), name=f"log in to {self._host.name}")
        self._connections.append(_Connection(opening, self._ssh, for_commands=for_commands))
        return self._connections[-1]

    async def _log_in(self) -> Node | Unreachable:
        async with self._logins:
            (result,) = await self._ssh.connect_all([self._host])
            return result

    def not_installed(self, program: str) -> LaunchError:
        """Return the error for a login host without that program."""
        return LaunchError(
            f"there is no {program} on {self._host.name}",
            remedy="name a login node of the cluster; if it is one, add Slurm's programs to PATH in a "
            "start-up file of the login shell there",
        )

    async def close(self) -> None:
        """Close all connections."""
        connections = list(self._connections)
        self._connections.clear()  # the views have the same list
        await asyncio.gather(*(each.close() for each in connections))
        await self._ssh.__aexit__()


class _Connection:
    """A connection to the login host that `opening` makes with the transport `ssh`."""

    def __init__(
        self, opening: asyncio.Task[Node | Unreachable], ssh: SshTransport, *, for_commands: bool
    ) -> None:
        self.ssh = ssh
        self.for_commands = for_commands
        self.nodes = 0
        self.is_lost = False
        self._opening = opening

    @property
    def has_room(self) -> bool:
        return not self.is_lost and (self.for_commands or self.nodes < _NODES_PER_CONNECTION)

    async def opened(self) -> Node | Unreachable:
        """Wait until it is made; return it, or why that is impossible."""
        try:
            result = await asyncio.shield(self._opening)
        except Exception:  # an invalid ssh_config
            self.is_lost = True
            raise
        self.is_lost = self.is_lost or isinstance(result, Unreachable)
        return result

    async def node(self) -> Node:
        """Wait until it is made, and return it. Raises NodeError."""
        result = await self.opened()
        if isinstance(result, Unreachable):
            raise NodeError(result.node, result.message, remedy=result.remedy)
        return result

    async def close(self) -> None:
        self.is_lost = True
        self._opening.cancel()
        (result,) = await asyncio.gather(self._opening, return_exceptions=True)
        if not isinstance(result, Unreachable | BaseException):
            await result.close()


class StepNode:
    """The `Node` whose scripts are run by `argv` on the login host, over the connection of `inner`."""

    def __init__(self, connection: _Connection, inner: Node, argv: Sequence[str]) -> None:
        self._connection = connection
        self._inner = inner
        self._argv = argv
        self._channels: WeakSet[Channel] = WeakSet()
        self._is_closed = False

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def host(self) -> Host:
        return self._inner.host

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._inner.warnings

    async def open(self, script: str) -> Channel:
        channel = await self._watched(self._inner.open(self._step(script)))
        self._channels.add(channel)
        return channel

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        return await self._watched(
            self._inner.run(self._step(script), input=input, timeout=timeout)
        )

    def _step(self, script: str) -> str:
        return _script([*self._argv, script])

    async def _watched(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result; a connection that is lost is not used for other nodes."""
        try:
            return await work
        except ConnectionLost:
            self._connection.is_lost = True
            raise

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._connection.nodes -= 1
        for channel in self._channels:
            channel.close()
        await self._inner.close()


def _script(argv: Sequence[str]) -> str:
    """Return the script that runs one of Slurm's programs in a login."""
    return f"{CLEAN_LOGIN}exec {command_line(argv)}"


def _read_host(given: str) -> Host:
    """Return the one host in `given`. Raises ValueError."""
    try:
        hosts = parse(json.dumps({"hosts": [given]}), Path("--slurm-login")).hosts
    except InventoryError as error:
        raise ValueError(f"login is a host as ssh takes it, not {given!r:.100}") from error
    if len(hosts) != 1:
        raise ValueError(f"login is one host, not {len(hosts)}")
    return hosts[0]
