"""Connect to every node over SSH, all at once, and keep one connection to each."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

from orchestrator.errors import LinkLost, NodeError, Unreachable, UsageError
from orchestrator.remote import verdicts
from orchestrator.remote.base import Completed, Node, ShellError
from orchestrator.remote.channel import PACKET, WINDOW, SshChannel
from orchestrator.remote.links import Link, Links
from orchestrator.remote.login import Trust
from orchestrator.remote.script import command_for
from orchestrator.remote.ssh_config import ConfigParseError, Target, config_files, resolve
from orchestrator.remote.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = ["ConnectOptions", "SshNode", "Trust", "connect_all"]

# For a login shell with slow start-up files (conda, modules on a network file system).
_SHELL_TIMEOUT = 30.0


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

    def __init__(self, host: Host, target: Target, link: Link) -> None:
        self._host = host
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
        try:
            _, session = await self._link.connection.create_session(
                lambda: SshChannel(self.name),
                command,
                encoding=None,
                request_pty=False,
                window=WINDOW,
                max_pktsize=PACKET,
            )
        except asyncssh.ChannelOpenError as error:
            if self._link.connection.is_closed() or "connection closed" in error.reason:
                raise self._lost(error) from error
            raise NodeError(
                f"{self.name}: sshd refuses another session ({printable(error.reason)})",
                remedy="raise MaxSessions in the node's sshd_config (its default is 10)",
            ) from error
        except (asyncssh.DisconnectError, OSError) as error:
            raise self._lost(error) from error
        assert isinstance(session, SshChannel)
        await self._begin(session, f"{marker}\n".encode())
        return session

    async def _begin(self, channel: SshChannel, marker: bytes) -> None:
        """Wait until our script runs; closes the channel when it does not come to it."""
        try:
            async with asyncio.timeout(_SHELL_TIMEOUT):
                await channel.started(marker)
            return
        except TimeoutError:
            what, noise = f"did not start our script within {_SHELL_TIMEOUT:g} s", channel.stderr
        except asyncio.LimitOverrunError:
            what, noise = "prints without end", await channel.read(1024)
        except asyncio.IncompleteReadError as error:
            code = await channel.wait()  # raises LinkLost if that is what it was
            what, noise = f"ended with code {code} instead", error.partial + channel.stderr
        except BaseException:
            channel.close()
            raise
        channel.close()
        where = self._target.ssh_command.removeprefix("ssh ")
        raise ShellError(verdicts.shell_failed(self.name, where, what, noise))

    def _lost(self, error: Exception) -> LinkLost:
        reason = printable(str(error)) or type(error).__name__
        return LinkLost(f"{self.name}: the connection broke: {reason}")

    async def run(self, script: str, *, input: bytes = b"", timeout: float = 30.0) -> Completed:  # noqa: A002
        try:
            async with asyncio.timeout(timeout):
                return await self._run(script, input)
        except TimeoutError:
            raise NodeError(
                f"{self.name}: a command did not end within {timeout:g} s",
                remedy=f"check the load of the node: {self._target.ssh_command} uptime",
            ) from None

    async def _run(self, script: str, data: bytes) -> Completed:
        channel = await self.open(script)

        async def feed() -> None:
            await channel.write(data)
            channel.write_eof()

        feeding = asyncio.create_task(feed())
        try:
            out = bytearray()
            while chunk := await channel.read():
                out += chunk
            code = await channel.wait()
            return Completed(code, bytes(out), channel.stderr)
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
    on_result: Callable[[str, Node | Unreachable, float], None] | None = None,
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
            f"ssh_config: {error}", remedy="correct the file; ssh -G shows more"
        ) from error
    opened: list[SshNode] = []

    async def connect(links: Links, host: Host, target: Target) -> SshNode | Unreachable:
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
            Links(
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
