"""Connect to all nodes over SSH at once, and keep one connection to each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import asyncssh

from orchestrator.errors import ConnectionLost, NodeError, Unreachable, UsageError
from orchestrator.remote.base import Completed, Node, OnResult, Screen
from orchestrator.remote.ssh.channel import PACKET, WINDOW, SshChannel
from orchestrator.remote.ssh.config import ConfigParseError, Resolver, Target, config_files
from orchestrator.remote.ssh.connections import ConnectOptions, SshConnection, SshConnections
from orchestrator.remote.ssh.login import Trust
from orchestrator.remote.ssh.script import command_for
from orchestrator.remote.ssh.shell import run_in_shell
from orchestrator.remote.ssh.verdicts import Verdicts
from orchestrator.util.log import node_logger
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = ["ConnectOptions", "SshNode", "Trust", "connect_all"]

_CLOSED = "connection closed"  # asyncssh's reason if the connection ends while a session opens


class SshNode:
    """An open SSH connection to a node."""

    def __init__(self, host: Host, target: Target, link: SshConnection) -> None:
        self._host = host
        self._log = node_logger("ssh", host.name)
        self._target = target
        self._link = link
        self._released = False

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def host(self) -> Host:
        return self._host

    @property
    def warnings(self) -> tuple[str, ...]:
        """ssh_config keywords that apply to this host and have no effect, with file and line; how it was
        reached.
        """
        return (*self._target.warnings, *self._link.warnings)

    async def open(self, script: str) -> SshChannel:
        return await run_in_shell(
            lambda command: self._session(command, request_pty=False),
            script,
            Verdicts(self.name, self._target),
        )

    async def open_terminal(self, script: str | None, screen: Screen | None) -> SshChannel:
        """Start `script` (POSIX sh), or the login shell; with a pseudo-terminal like `screen` unless None.

        Output of start-up files is kept. Raises ConnectionLost and NodeError as `open` does.
        """
        options: dict[str, Any] = {"request_pty": False}
        if screen is not None:
            size = (screen.columns, screen.lines, 0, 0)
            options = {"request_pty": "force", "term_type": screen.kind, "term_size": size}
        return await self._session(None if script is None else command_for(script), **options)

    async def _session(self, command: str | None, **options: Any) -> SshChannel:
        self._log.debug("opening a session")
        try:
            _, session = await self._link.connection.create_session(
                lambda: SshChannel(self.name),
                command,
                encoding=None,
                window=WINDOW,
                max_pktsize=PACKET,
                env=dict(self._target.environment) or None,
                **options,
            )
        except asyncssh.ChannelOpenError as error:
            reason = printable(error.reason)
            if self._link.connection.is_closed() or _CLOSED in error.reason:
                raise self._lost(error) from error
            if options["request_pty"]:
                raise NodeError(
                    self.name,
                    f"sshd gives no terminal ({reason})",
                    remedy="see PermitTTY in the node's sshd_config; without a terminal: leave out -t, or "
                    "have standard input come from a pipe",
                ) from error
            raise NodeError(
                self.name,
                f"sshd refuses another session ({reason})",
                remedy="raise MaxSessions in the node's sshd_config (its default is 10)",
            ) from error
        except (asyncssh.DisconnectError, OSError) as error:
            raise self._lost(error) from error
        assert isinstance(session, SshChannel)
        return session

    def _lost(self, error: Exception) -> ConnectionLost:
        reason = printable(str(error)) or type(error).__name__
        return ConnectionLost(self.name, f"the connection broke: {reason}")

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        channel = await self.open(script)  # has its own timeout, for slow start-up files
        remedy = f"check the load of the node: {self._target.command('uptime')}"
        return await channel.run_to_end(input, timeout, remedy)

    def share(self, host: Host) -> SshNode:
        self._link.hold()
        return SshNode(host, self._target, self._link)

    async def close(self) -> None:
        if not self._released:
            self._released = True
            await self._link.release()


class OtherClient(Protocol):
    """A client that connects to some hosts instead of orch."""

    async def first(self, host: Host, target: Target) -> Node | Unreachable | None:
        """Return the result if it connects to this host, None if orch does."""

    async def after(self, host: Host, target: Target, verdict: Unreachable) -> Node | Unreachable:
        """Return the result if it can log in where orch could not, else orch's `verdict`."""


async def connect_all(
    hosts: Sequence[Host],
    options: ConnectOptions | None = None,
    *,
    on_result: OnResult | None = None,
    other: OtherClient | None = None,
) -> list[Node | Unreachable]:
    """Connect to all `hosts` at once; return, in their order, the nodes or the reasons for failure.

    `on_result(name, result, seconds)` is called for each host when it is done. If a host fails, nothing
    is raised; UsageError means that an ssh_config file cannot be parsed.
    """
    options = options or ConnectOptions()
    files = () if options.trust is not None else config_files()
    async with Resolver(files) as resolver:
        try:
            targets = await resolver.resolve_all(hosts)
        except ConfigParseError as error:
            remedy = "correct it; `ssh -G HOST` prints what ssh makes of it"
            raise UsageError(f"ssh_config: {error}", remedy=remedy) from error
        links = SshConnections(options, resolver)
        return await _connect_all(hosts, targets, links, on_result, other)


async def _connect_all(
    hosts: Sequence[Host],
    targets: Sequence[Target],
    links: SshConnections,
    on_result: OnResult | None,
    other: OtherClient | None,
) -> list[Node | Unreachable]:
    opened: list[Node] = []

    async def connect(host: Host, target: Target) -> Node | Unreachable:
        start = time.monotonic()
        result = None if other is None else await other.first(host, target)
        if result is None:
            link = await links.open(host.name, target)
            result = link if isinstance(link, Unreachable) else SshNode(host, target, link)
            if other is not None and isinstance(result, Unreachable):
                result = await other.after(host, target, result)
        if not isinstance(result, Unreachable):
            opened.append(result)
        if on_result is not None:
            on_result(host.name, result, time.monotonic() - start)
        return result

    try:
        async with links, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(connect(host, target))
                for host, target in zip(hosts, targets, strict=True)
            ]
    except BaseException:
        await asyncio.gather(*(node.close() for node in opened))
        raise
    return [task.result() for task in tasks]
