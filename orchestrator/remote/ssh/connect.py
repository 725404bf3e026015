"""Connect to every node over SSH, all at once, and keep one connection to each."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncssh

from orchestrator.errors import ConnectionLost, NodeError, Unreachable, UsageError
from orchestrator.remote.base import Completed, OnResult, Screen, ShellError, read_all
from orchestrator.remote.ssh import verdicts
from orchestrator.remote.ssh.channel import PACKET, WINDOW, SshChannel
from orchestrator.remote.ssh.config import ConfigParseError, Target, config_files, resolve
from orchestrator.remote.ssh.connections import SshConnection, SshConnections
from orchestrator.remote.ssh.login import Trust
from orchestrator.remote.ssh.script import command_for
from orchestrator.remote.ssh.terminal import SshTerminal
from orchestrator.util.log import node_logger
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = ["ConnectOptions", "SshNode", "Trust", "connect_all"]

# For a login shell with slow start-up files (conda, modules on a network file system).
_SHELL_TIMEOUT = 30.0
_CLOSED = "connection closed"  # asyncssh, of a session on a connection that ends meanwhile


@dataclass(frozen=True)
class ConnectOptions:
    """How to connect. `timeout` bounds one node's name look-up, TCP connection, handshake and
    authentication together, `keepalive` is the interval of probes (three missed ones end a
    connection); both in seconds.
    """

    timeout: float = 10.0
    accept_new: bool = False
    keepalive: float = 15.0
    trust: Trust | None = None


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
        """ssh_config keywords that apply to this host and have no effect, with file and line."""
        return self._target.warnings

    async def open(self, script: str) -> SshChannel:
        marker = secrets.token_hex(16)
        command = command_for(f"printf '%s\\n' {marker}\n{script}")
        session = await self._session(SshChannel, command, request_pty=False)
        await self._begin(session, f"{marker}\n".encode())
        return session

    async def open_terminal(self, script: str | None, screen: Screen | None) -> SshTerminal:
        """Start `script` (POSIX sh), or the login shell, for a person, with a pseudo-terminal like `screen`
        (None: without one).

        What start-up files print is theirs to see. Raises ConnectionLost and NodeError as `open` does.
        """
        options: dict[str, Any] = {"request_pty": False}
        if screen is not None:
            size = (screen.columns, screen.lines, 0, 0)
            options = {"request_pty": "force", "term_type": screen.kind, "term_size": size}
        command = None if script is None else command_for(script)
        session = await self._session(SshTerminal, command, **options)
        assert isinstance(session, SshTerminal)
        return session

    async def _session(
        self, kind: type[SshChannel], command: str | None, **options: Any
    ) -> SshChannel:
        self._log.debug("opening a session")
        try:
            _, session = await self._link.connection.create_session(
                lambda: kind(self.name),
                command,
                encoding=None,
                window=WINDOW,
                max_pktsize=PACKET,
                **options,
            )
        except asyncssh.ChannelOpenError as error:
            if self._link.connection.is_closed() or _CLOSED in error.reason:
                raise self._lost(error) from error
            if options["request_pty"]:
                raise NodeError(
                    self.name,
                    f"sshd gives no terminal ({printable(error.reason)})",
                    remedy="see PermitTTY in the node's sshd_config; without a terminal: leave out -t, or "
                    "have standard input come from a pipe",
                ) from error
            raise NodeError(
                self.name,
                f"sshd refuses another session ({printable(error.reason)})",
                remedy="raise MaxSessions in the node's sshd_config (its default is 10)",
            ) from error
        except (asyncssh.DisconnectError, OSError) as error:
            raise self._lost(error) from error
        assert isinstance(session, SshChannel)
        return session

    async def _begin(self, channel: SshChannel, marker: bytes) -> None:
        """Wait until our script runs; closes the channel when it does not come to it."""
        self._log.debug(
            "session is open; waiting for the login shell, %g s at most", _SHELL_TIMEOUT
        )
        try:
            async with asyncio.timeout(_SHELL_TIMEOUT):
                await channel.started(marker)
            self._log.debug("login shell has come to our script")
            return
        except TimeoutError:
            channel.close()
            raise ShellError(
                verdicts.shell_hangs(self.name, self._target, _SHELL_TIMEOUT, channel.stderr)
            ) from None
        except asyncio.LimitOverrunError:
            what, noise = "prints without end", await channel.read(1024)
        except asyncio.IncompleteReadError as error:
            code = await channel.wait()  # raises ConnectionLost if that is what it was
            what, noise = f"ended with code {code} instead", error.partial + channel.stderr
        except BaseException:
            channel.close()
            raise
        channel.close()
        verdict = verdicts.shell_failed(self.name, self._target, what, noise)
        raise ShellError(verdicts.with_place(verdict, self._target))

    def _lost(self, error: Exception) -> ConnectionLost:
        reason = printable(str(error)) or type(error).__name__
        return ConnectionLost(self.name, f"the connection broke: {reason}")

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        channel = await self.open(
            script
        )  # in a time of its own: the shell's start-up files may hang
        try:
            async with asyncio.timeout(timeout):
                return await self._run(channel, input)
        except TimeoutError:
            raise NodeError(
                self.name,
                f"a command did not end within {timeout:g} s",
                remedy=f"check the load of the node: {self._target.command('uptime')}",
            ) from None

    async def _run(self, channel: SshChannel, data: bytes) -> Completed:
        async def feed() -> None:
            await channel.write(data)
            channel.write_eof()

        feeding = asyncio.create_task(feed())
        try:
            out = await read_all(self.name, channel)
            return Completed(await channel.wait(), out, channel.stderr)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            channel.close()

    async def close(self) -> None:
        if not self._released:
            self._released = True
            await self._link.release()


async def connect_all(
    hosts: Sequence[Host],
    options: ConnectOptions | None = None,
    *,
    on_result: OnResult | None = None,
) -> list[SshNode | Unreachable]:
    """Connect to all `hosts` at once; return, in their order, the nodes or why there is none.

    `on_result(name, result, seconds)` is called as each verdict is known. A host's own fault never
    raises; an ssh_config file that cannot be understood is a UsageError.
    """
    options = options or ConnectOptions()
    files = () if options.trust is not None else config_files()
    try:
        # In a thread: `Match exec` runs commands.
        targets = await asyncio.to_thread(lambda: [resolve(host, files) for host in hosts])
    except ConfigParseError as error:
        raise UsageError(
            f"ssh_config: {error}", remedy="correct it; `ssh -G HOST` shows what ssh makes of it"
        ) from error
    opened: list[SshNode] = []

    async def connect(links: SshConnections, host: Host, target: Target) -> SshNode | Unreachable:
        begun = time.monotonic()
        link = await links.open(host.name, target)
        result = link if isinstance(link, Unreachable) else SshNode(host, target, link)
        if isinstance(result, SshNode):
            opened.append(result)
        if on_result is not None:
            on_result(host.name, result, time.monotonic() - begun)
        return result

    try:
        async with (
            SshConnections(
                timeout=options.timeout,
                accept_new=options.accept_new,
                keepalive=options.keepalive,
                trust=options.trust,
                files=files,
            ) as links,
            asyncio.TaskGroup() as group,
        ):
            tasks = [
                group.create_task(connect(links, host, target))
                for host, target in zip(hosts, targets, strict=True)
            ]
    except BaseException:
        await asyncio.gather(*(node.close() for node in opened))
        raise
    return [task.result() for task in tasks]
